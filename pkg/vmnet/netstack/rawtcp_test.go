package netstack_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"testing"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
	"github.com/vmnet-cni/vmnet/pkg/vmnet/netstack"
)

// A rawTCP is a guest that knows just enough TCP to keep a connection busy, and
// so costs next to nothing: what a benchmark with it measures is the driver. It
// never loses or reorders a frame, and expects the same.
type rawTCP struct {
	b        *testing.B
	dev      vmnet.Device
	hdr      [54]byte // Ethernet, IPv4, TCP
	seq, ack uint32   // ours to send, theirs to come
	acked    uint32
	window   int
	scale    uint
	fin      bool
	got      int64
	bufs     [][]byte
	sizes    []int
}

func newRawTCP(b *testing.B, n *netstack.Network, dev vmnet.Device, to netip.AddrPort) *rawTCP {
	r := &rawTCP{b: b, dev: dev, seq: 1000, sizes: make([]int, dev.Info().ReadBatch)}
	for range r.sizes {
		r.bufs = append(r.bufs, make([]byte, dev.Info().MaxPacketSize))
	}
	h := r.hdr[:]
	copy(h, vmnet.GatewayMAC(n.Info().Name))
	copy(h[6:], dev.Info().MAC)
	h[12], h[14], h[22], h[23] = 8, 0x45, 64, 6
	copy(h[26:], []byte{192, 168, 127, 9})
	copy(h[30:], to.Addr().AsSlice())
	binary.BigEndian.PutUint16(h[34:], 40000)
	binary.BigEndian.PutUint16(h[36:], to.Port())
	// Announce the address, so that the gateway need not ask.
	arp := append([]byte{}, broadcast...)
	arp = append(arp, dev.Info().MAC...)
	arp = append(arp, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1)
	arp = append(append(append(arp, dev.Info().MAC...), 192, 168, 127, 9), 0, 0, 0, 0, 0, 0, 192, 168, 127, 1)
	send(b, dev, arp)
	// SYN with window scale 10 and the MSS of the MTU.
	mss := dev.Info().MTU - 40
	syn := r.frame(2, 8)
	syn[46] = 7 << 4
	copy(syn[54:], []byte{2, 4, byte(mss >> 8), byte(mss), 3, 3, 10, 0})
	send(b, dev, syn)
	r.seq++
	for r.ack == 0 {
		r.receive()
	}
	send(b, dev, r.frame(0x10, 0))
	return r
}

// frame makes a segment with n bytes of room behind the header.
func (r *rawTCP) frame(flags byte, n int) []byte {
	f := make([]byte, 54+n)
	r.fill(f, flags)
	return f
}

func (r *rawTCP) fill(f []byte, flags byte) {
	copy(f, r.hdr[:])
	binary.BigEndian.PutUint16(f[16:], uint16(len(f)-14))
	binary.BigEndian.PutUint32(f[38:], r.seq)
	binary.BigEndian.PutUint32(f[42:], r.ack)
	f[46], f[47] = 5<<4, flags
	binary.BigEndian.PutUint16(f[48:], 2000) // 2 MB
}

// receive takes what waits, and reports how many segments with data there were.
func (r *rawTCP) receive() (data int) {
	n, err := r.dev.ReadBatch(r.bufs, r.sizes)
	if errors.Is(err, vmnet.ErrNoPackets) {
		runtime.Gosched()
		return 0
	}
	if err != nil {
		r.b.Fatal(err)
	}
	for i := range n {
		f := r.bufs[i][:r.sizes[i]]
		if len(f) < 54 || f[12] != 8 || f[13] != 0 || f[23] != 6 {
			continue
		}
		off := 34 + int(f[46]>>4)*4
		flags, size := f[47], len(f)-off
		if flags&2 != 0 { // SYN-ACK
			r.ack = binary.BigEndian.Uint32(f[38:]) + 1
			for o := f[54:off]; len(o) > 0; {
				if o[0] <= 1 {
					o = o[1:]
					continue
				}
				if o[0] == 3 {
					r.scale = uint(o[2])
				}
				o = o[o[1]:]
			}
		}
		r.acked = binary.BigEndian.Uint32(f[42:])
		r.window = int(binary.BigEndian.Uint16(f[48:])) << r.scale
		if size > 0 && binary.BigEndian.Uint32(f[38:]) == r.ack {
			data++
			r.ack += uint32(size)
			r.got += int64(size)
		}
		r.fin = r.fin || flags&1 != 0
	}
	return data
}

// BenchmarkGateway moves bytes between a guest that costs nothing and the host's
// loopback. One op is 64 KiB.
func BenchmarkGateway(b *testing.B) {
	b.Run("guest-to-host/mtu1500", func(b *testing.B) { benchUp(b, 1500) })
	for _, mtu := range []int{1500, vmnet.MaxMTU} {
		b.Run(fmt.Sprint("host-to-guest/mtu", mtu), func(b *testing.B) { benchDown(b, mtu) })
	}
}

const (
	benchChunk = 64 << 10
	// rawInFlight bounds what the guest sends ahead. The gateway's stack counts
	// more memory for a segment than its bytes, and drops what goes beyond its
	// buffer although its window was larger; a real TCP sends again, this one
	// cannot.
	rawInFlight = 768 << 10
)

func benchUp(b *testing.B, mtu int) {
	n := openNetwork(b, netstack.Config{}, func(c *vmnet.NetworkConfig) { c.MTU = mtu })
	got := make(chan int64, 1)
	addr := listen(b, func(c *net.TCPConn) {
		k, _ := io.Copy(io.Discard, c)
		got <- k
	})
	r := newRawTCP(b, n, startDevice(b, n), loopback(n, addr))
	var batch [64][]byte
	for i := range batch {
		batch[i] = make([]byte, mtu+14)
	}
	total := int64(b.N) * benchChunk
	b.SetBytes(benchChunk)
	b.ResetTimer()
	var sent int64
	for sent < total {
		k := 0
		for k < len(batch) && sent < total && int(r.seq-r.acked)+mtu < min(r.window, rawInFlight) {
			size := int(min(int64(mtu-40), total-sent))
			r.fill(batch[k][:54+size], 0x10)
			batch[k] = batch[k][:54+size]
			r.seq += uint32(size)
			sent += int64(size)
			k++
		}
		if k > 0 {
			send(b, r.dev, batch[:k]...)
		}
		r.receive()
	}
	send(b, r.dev, r.frame(0x11, 0))
	for done := false; !done; {
		select {
		case k := <-got:
			if done = true; k != total {
				b.Fatalf("the host got %d bytes of %d", k, total)
			}
		default:
			r.receive()
		}
	}
}

func benchDown(b *testing.B, mtu int) {
	n := openNetwork(b, netstack.Config{}, func(c *vmnet.NetworkConfig) { c.MTU = mtu })
	count := b.N
	addr := listen(b, func(c *net.TCPConn) {
		buf := make([]byte, benchChunk)
		for range count {
			if _, err := c.Write(buf); err != nil {
				return
			}
		}
	})
	r := newRawTCP(b, n, startDevice(b, n), loopback(n, addr))
	b.SetBytes(benchChunk)
	b.ResetTimer()
	ack := make([]byte, 54)
	for r.got < int64(count)*benchChunk {
		if r.receive() > 0 { // one ACK for a batch, as a guest with receive offload
			r.fill(ack, 0x10)
			send(b, r.dev, ack)
		}
	}
	b.StopTimer()
	if d := n.Stats().Drops; len(d) > 0 {
		b.Logf("drops: %v", d)
	}
}
