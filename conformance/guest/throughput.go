package guest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// A Rate is an amount of data and the time it took.
type Rate struct {
	Bytes   int64
	Elapsed time.Duration
}

// BitsPerSecond returns the rate.
func (r Rate) BitsPerSecond() float64 { return float64(r.Bytes) * 8 / r.Elapsed.Seconds() }

// String returns the rate as "1.234 Gbit/s".
func (r Rate) String() string { return fmt.Sprintf("%.3f Gbit/s", r.BitsPerSecond()/1e9) }

// chunk is how many bytes are written or read at once.
const chunk = 64 << 10

// Send writes n bytes to c, closes its writing side, and waits until the other
// side, seen to have read all, closes its own: the time is that of the whole way.
func Send(ctx context.Context, c net.Conn, n int64) (Rate, error) {
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	start := time.Now()
	buf := make([]byte, chunk)
	for left := n; left > 0; {
		w, err := c.Write(buf[:min(left, chunk)])
		if err != nil {
			return Rate{}, fmt.Errorf("send: after %d bytes: %w", n-left, err)
		}
		left -= int64(w)
	}
	half, ok := c.(interface{ CloseWrite() error })
	if !ok {
		return Rate{}, fmt.Errorf("send: %T cannot close its writing side", c)
	}
	if err := half.CloseWrite(); err != nil {
		return Rate{}, fmt.Errorf("send: %w", err)
	}
	if _, err := io.Copy(io.Discard, c); err != nil {
		return Rate{}, fmt.Errorf("send: wait for the other side: %w", err)
	}
	return Rate{n, time.Since(start)}, nil
}

// Drain reads c until its end, closes it, and returns how many bytes came: the
// other side of Send.
func Drain(c net.Conn) (int64, error) {
	defer c.Close()
	var total int64
	buf := make([]byte, chunk)
	for {
		n, err := c.Read(buf)
		total += int64(n)
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return total, fmt.Errorf("drain: after %d bytes: %w", total, err)
		}
	}
}
