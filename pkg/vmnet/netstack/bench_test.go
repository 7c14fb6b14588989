package netstack_test

import (
	"io"
	"net"
	"testing"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
	"github.com/vmnet-cni/vmnet/pkg/vmnet/netstack"
)

// BenchmarkSwitch moves frames from one guest to another, written and read in
// batches on one goroutine: the cost of the switch alone. One op is one frame.
func BenchmarkSwitch(b *testing.B) {
	for _, size := range []int{60, 1514} {
		b.Run(sizeName(size), func(b *testing.B) {
			n := openNetwork(b, netstack.Config{}, nil)
			from, to := startDevice(b, n), startDevice(b, n)
			out := make([][]byte, 64)
			in, sizes := make([][]byte, 64), make([]int, 64)
			for i := range out {
				out[i] = make([]byte, size)
				copy(out[i], to.Info().MAC)
				copy(out[i][6:], from.Info().MAC)
				in[i] = make([]byte, to.Info().MaxPacketSize)
			}
			b.SetBytes(int64(size))
			b.ReportAllocs()
			b.ResetTimer()
			for done := 0; done < b.N; done += len(out) {
				if k, err := from.WriteBatch(out); k != len(out) || err != nil {
					b.Fatalf("write: %d, %v", k, err)
				}
				if k, err := to.ReadBatch(in, sizes); k != len(out) || err != nil {
					b.Fatalf("read: %d, %v", k, err)
				}
			}
		})
	}
}

func sizeName(n int) string {
	if n < 100 {
		return "small"
	}
	return "large"
}

// BenchmarkTCP moves bytes between a guest and the host's loopback, at 64 KiB an
// op. The guest's own stack runs on the same cores.
func BenchmarkTCP(b *testing.B) {
	const chunk = 64 << 10
	for name, mtu := range map[string]int{"mtu1500": 1500, "mtu65520": vmnet.MaxMTU} {
		b.Run("guest-to-host/"+name, func(b *testing.B) {
			got := make(chan int64, 1)
			n := openNetwork(b, netstack.Config{}, func(c *vmnet.NetworkConfig) { c.MTU = mtu })
			g := newGuest(b, n, "192.168.127.2")
			c := g.mustDial(loopback(n, listen(b, func(c *net.TCPConn) {
				k, _ := io.Copy(io.Discard, c)
				got <- k
			})))
			_ = c.SetDeadline(noTime)
			buf := make([]byte, chunk)
			b.SetBytes(chunk)
			b.ResetTimer()
			for range b.N {
				if _, err := c.Write(buf); err != nil {
					b.Fatal(err)
				}
			}
			_ = c.CloseWrite()
			if k := <-got; k != int64(b.N)*chunk {
				b.Fatalf("host got %d bytes of %d", k, int64(b.N)*chunk)
			}
		})
		b.Run("host-to-guest/"+name, func(b *testing.B) {
			n := openNetwork(b, netstack.Config{}, func(c *vmnet.NetworkConfig) { c.MTU = mtu })
			g := newGuest(b, n, "192.168.127.2")
			count := b.N
			c := g.mustDial(loopback(n, listen(b, func(c *net.TCPConn) {
				buf := make([]byte, chunk)
				for range count {
					if _, err := c.Write(buf); err != nil {
						return
					}
				}
			})))
			_ = c.SetDeadline(noTime)
			b.SetBytes(chunk)
			b.ResetTimer()
			buf := make([]byte, 256<<10)
			var k int64
			for {
				r, err := c.Read(buf)
				k += int64(r)
				if err != nil {
					break
				}
			}
			if k != int64(count)*chunk {
				b.Fatalf("guest got %d bytes of %d; %+v", k, int64(count)*chunk, n.Stats())
			}
			b.StopTimer()
			b.Logf("%+v", n.Stats())
		})
	}
}
