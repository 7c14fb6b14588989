// Package bootpd reads the leases that macOS' DHCP server writes to
// /var/db/dhcpd_leases: blocks in braces, newest first, one key=value a line, the
// bytes of addresses in hexadecimal without leading zeros, the expiry in
// hexadecimal seconds (apple-oss-distributions/bootp, NICache.c, dhcpd.c,
// host_identifier.c). Expired leases stay there until the pool is full.
package bootpd

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"
)

// Path is where macOS has its leases, readable for everybody.
const Path = "/var/db/dhcpd_leases"

// Limits of what is read.
const (
	maxFile  = 4 << 20 // bytes: some 20,000 leases
	maxBytes = 130     // of an identifier: the longest DUID (RFC 8415, section 11.1) with type and IAID
)

// A Lease is one block. What it does not say is zero.
type Lease struct {
	Name       string // the host name that the client sent
	Addr       netip.Addr
	Hardware   []byte // type of hardware (1: Ethernet), then address; for some clients their identifier
	Identifier []byte // client identifier (option 61): type, then bytes; 255 for a DUID
	Expires    time.Time
}

// MAC returns the client's Ethernet address, or nil when the lease does not tell.
func (l Lease) MAC() net.HardwareAddr {
	for _, b := range [][]byte{l.Hardware, l.Identifier} {
		if len(b) == 7 && b[0] == 1 {
			return net.HardwareAddr(b[1:])
		}
	}
	return nil
}

// Is reports whether the lease is that of the client with a MAC, or with a client
// identifier, as option 61 has it; an empty one is nobody's.
func (l Lease) Is(mac net.HardwareAddr, identifier []byte) bool {
	if len(mac) == 6 && bytes.Equal(l.MAC(), mac) {
		return true
	}
	return len(identifier) > 1 && (bytes.Equal(l.Identifier, identifier) || bytes.Equal(l.Hardware, identifier))
}

// ReadFile reads the leases of a file. A file that is not there has none.
func ReadFile(path string) ([]Lease, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("leases of bootpd: %w", err)
	}
	defer f.Close()
	list, err := Parse(f)
	if err != nil {
		return list, fmt.Errorf("leases of bootpd %s: %w", path, err)
	}
	return list, nil
}

// Parse reads leases, in their order, up to 4 MiB. Blocks without an address and
// lines that it does not know are left out: the file has no version.
func Parse(r io.Reader) ([]Lease, error) {
	var list []Lease
	var l Lease
	inside := false
	s := bufio.NewScanner(io.LimitReader(r, maxFile))
	for s.Scan() {
		switch line := strings.TrimSpace(s.Text()); {
		case line == "{":
			l, inside = Lease{}, true
		case line == "}":
			if inside && l.Addr.IsValid() {
				list = append(list, l)
			}
			inside = false
		case inside:
			l.take(line)
		}
	}
	return list, s.Err()
}

// take reads one line of a block.
func (l *Lease) take(line string) {
	key, value, ok := strings.Cut(line, "=")
	if !ok {
		return
	}
	switch key {
	case "name":
		l.Name = value
	case "ip_address":
		l.Addr, _ = netip.ParseAddr(value) // zero: the block is left out
	case "hw_address":
		l.Hardware = parseBytes(value)
	case "identifier":
		l.Identifier = parseBytes(value)
	case "lease":
		if n, err := strconv.ParseInt(strings.TrimPrefix(value, "0x"), 16, 64); err == nil {
			l.Expires = time.Unix(n, 0)
		}
	}
}

// parseBytes reads "1,aa:b:0:1:2:3": a type, then bytes. It returns nil for what
// is neither.
func parseBytes(s string) []byte {
	kind, rest, ok := strings.Cut(s, ",")
	if !ok {
		return nil
	}
	first, err := strconv.ParseUint(kind, 16, 8)
	if err != nil {
		return nil
	}
	out := []byte{byte(first)}
	for part := range strings.SplitSeq(rest, ":") {
		n, err := strconv.ParseUint(part, 16, 8)
		if err != nil || len(out) == maxBytes {
			return nil
		}
		out = append(out, byte(n))
	}
	return out
}
