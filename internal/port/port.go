// Package port finds ports of the host that tests can have something forward.
package port

import (
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
)

// The ports from which Free chooses: below those that Linux (32768) and macOS
// (49152) give to whoever asks for any, so that no connection of another program
// takes one between the test's look and its use.
const (
	first = 10000
	last  = 32767
)

// Free returns n different ports that nobody has, for TCP and for UDP, at any
// address of the host.
func Free(t testing.TB, n int) []uint16 {
	t.Helper()
	ports, err := Find(n)
	if err != nil {
		t.Fatal(err)
	}
	return ports
}

// Find is Free for programs that are no tests.
func Find(n int) ([]uint16, error) {
	var ports []uint16
	for tries := 0; len(ports) < n; tries++ {
		if tries == 1000 {
			return nil, fmt.Errorf("%d free ports: only %d found between %d and %d", n, len(ports), first, last)
		}
		p := uint16(first + rand.N(last-first+1))
		release, ok := take(p)
		if !ok {
			continue
		}
		defer release() // not before the last: no port is found twice
		ports = append(ports, p)
	}
	return ports, nil
}

// take binds a port as any forward could, and as macOS asks for: there a listener
// at one address does not keep others from all addresses (SO_REUSEADDR).
func take(p uint16) (release func(), ok bool) {
	one, ok := bind("127.0.0.1", p)
	if !ok {
		return nil, false
	}
	one()
	return bind("", p)
}

func bind(host string, p uint16) (release func(), ok bool) {
	addr := fmt.Sprintf("%s:%d", host, p)
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, false
	}
	pc, err := net.ListenPacket("udp", addr)
	if err != nil {
		_ = l.Close()
		return nil, false
	}
	return func() { _, _ = l.Close(), pc.Close() }, true
}
