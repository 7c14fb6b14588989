package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"time"
)

// What a connection carries, as its first byte says.
const (
	upload   = 'u' // guest to outside
	download = 'd' // outside to guest
	echo     = 'e' // one byte to and fro
)

// warmUp is not measured: a connection's slow start.
const warmUp = 100 * time.Millisecond

// chunk is how many bytes are read or written at once.
const chunk = 256 << 10

// A traffic is what one measurement saw.
type traffic struct {
	Bytes int64   `json:"bytes"`
	Nanos int64   `json:"nanos"`
	RTT   float64 `json:"rtt"` // median, in µs
}

// serveTraffic is the outside: it takes connections until its end.
func serveTraffic(args []string) error {
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "tcp", args[0])
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			_ = serveOne(c) // the guest sees that it ended
			_ = c.Close()
		}()
	}
}

func serveOne(c net.Conn) error {
	var mode [1]byte
	if _, err := io.ReadFull(c, mode[:]); err != nil {
		return err
	}
	buf := make([]byte, chunk)
	switch mode[0] {
	case upload:
		var long int64
		if err := binary.Read(c, binary.BigEndian, &long); err != nil {
			return err
		}
		n, took, err := drain(c, buf, time.Duration(long))
		if err != nil {
			return err
		}
		if err := binary.Write(c, binary.BigEndian, [2]int64{n, int64(took)}); err != nil {
			return err
		}
		// Until the guest has read that: a close with bytes unread is a reset, which
		// may overtake it.
		_, err = io.Copy(io.Discard, c)
		return err
	case echo:
		for {
			n, err := c.Read(buf)
			if err != nil {
				return err
			}
			if _, err := c.Write(buf[:n]); err != nil {
				return err
			}
		}
	}
	for {
		if _, err := c.Write(buf); err != nil {
			return err
		}
	}
}

// drain reads for as long as said and counts what came after the warm-up.
func drain(c net.Conn, buf []byte, long time.Duration) (n int64, took time.Duration, err error) {
	for end := time.Now().Add(warmUp); time.Now().Before(end); {
		if _, err := c.Read(buf); err != nil {
			return 0, 0, err
		}
	}
	start := time.Now()
	for took < long {
		k, err := c.Read(buf)
		if err != nil {
			return 0, 0, err
		}
		n += int64(k)
		took = time.Since(start)
	}
	return n, took, nil
}

// runTraffic is the guest: address, mode, duration. It prints a traffic.
func runTraffic(args []string) error {
	long, err := time.ParseDuration(args[2])
	if err != nil {
		return err
	}
	t, err := exchange(args[0], args[1][0], long)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(t)
}

// exchange moves bytes between here and the outside.
func exchange(addr string, mode byte, long time.Duration) (t traffic, err error) {
	d := net.Dialer{Timeout: 5 * time.Second}
	c, err := d.DialContext(context.Background(), "tcp", addr)
	if err != nil {
		return t, err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(long + 10*time.Second))
	if _, err := c.Write([]byte{mode}); err != nil {
		return t, err
	}
	switch mode {
	case upload:
		return sendFor(c, long)
	case download:
		return readFor(c, long)
	}
	return pingPong(c, long)
}

// An order is what an agent is to measure.
type order struct {
	Addr string        `json:"addr"`
	Mode byte          `json:"mode"`
	Long time.Duration `json:"long"`
}

// An answer is what an agent saw, or what went wrong.
type answer struct {
	traffic
	Err string `json:"err,omitempty"`
}

// runAgent is a guest that nobody can start programs in: it fetches its orders from
// the address that is its argument, until that is gone.
func runAgent(args []string) error {
	d := net.Dialer{Timeout: 30 * time.Second}
	c, err := d.DialContext(context.Background(), "tcp", args[0])
	if err != nil {
		return err
	}
	defer c.Close()
	in, out := json.NewDecoder(c), json.NewEncoder(c)
	for {
		var o order
		if err := in.Decode(&o); err != nil {
			return nil //nolint:nilerr // the bench has ended
		}
		var a answer
		if a.traffic, err = exchange(o.Addr, o.Mode, o.Long); err != nil {
			a.Err = err.Error()
		}
		if err := out.Encode(a); err != nil {
			return err
		}
	}
}

// sendFor sends until the other end, which has counted for so long, says how much
// came: an end of file could be long behind what is on its way.
func sendFor(c net.Conn, long time.Duration) (t traffic, err error) {
	if err := binary.Write(c, binary.BigEndian, int64(long)); err != nil {
		return t, err
	}
	go func() {
		buf := make([]byte, chunk)
		for {
			if _, err := c.Write(buf); err != nil {
				return // the other end has what it wants, or is gone
			}
		}
	}()
	var got [2]int64
	err = binary.Read(c, binary.BigEndian, &got)
	return traffic{Bytes: got[0], Nanos: got[1]}, err
}

func readFor(c net.Conn, long time.Duration) (t traffic, err error) {
	buf := make([]byte, chunk)
	for end := time.Now().Add(warmUp); time.Now().Before(end); {
		if _, err := c.Read(buf); err != nil {
			return t, err
		}
	}
	start := time.Now()
	for time.Since(start) < long {
		n, err := c.Read(buf)
		if err != nil {
			return t, err
		}
		t.Bytes += int64(n)
	}
	t.Nanos = int64(time.Since(start))
	return t, nil
}

func pingPong(c net.Conn, long time.Duration) (traffic, error) {
	var b [1]byte
	var all []time.Duration
	for end := time.Now().Add(long); time.Now().Before(end); {
		start := time.Now()
		if _, err := c.Write(b[:]); err != nil {
			return traffic{}, err
		}
		if _, err := io.ReadFull(c, b[:]); err != nil {
			return traffic{}, err
		}
		all = append(all, time.Since(start))
	}
	slices.Sort(all)
	return traffic{RTT: float64(all[len(all)/2]) / 1e3}, nil
}
