package guard_test

import (
	"testing"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// busy is a guard that has everything to do.
var busy = vmnet.Guard{MAC: true, IP: true, DHCP: true, RA: true, Addrs: all.Addrs,
	Allow: prefixes("0.0.0.0/0", "::/0"), Deny: prefixes("169.254.0.0/16", "192.168.0.0/16", "172.16.0.0/12", "fc00::/7")}

// traffic is what most frames are.
var traffic = map[string]func(size int) []byte{
	"tcp4": func(size int) []byte {
		return ip4{src: "10.0.0.9", dst: "1.1.1.1", proto: 6, data: make([]byte, size-34)}.frame()
	},
	"tcp6": func(size int) []byte {
		return ip6{src: "fd00::9", dst: "2001:db8::1", next: 6, data: make([]byte, size-54)}.frame()
	},
	"udp4": func(size int) []byte {
		return ip4{src: "10.0.0.9", dst: "10.0.0.1", proto: 17, data: append(udp(1000, 53), make([]byte, size-46)...)}.frame()
	},
}

func TestNoAllocations(t *testing.T) {
	g := newGuard(t, busy, nil)
	frames := seeds()
	for _, make := range traffic {
		frames = append(frames, make(64))
	}
	if n := testing.AllocsPerRun(1000, func() {
		for _, f := range frames {
			g.FromGuest(f, nil)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkFromGuest(b *testing.B) {
	for name, make := range traffic {
		b.Run(name, func(b *testing.B) {
			g, f := newGuard(b, busy, nil), make(64)
			b.ReportAllocs()
			for b.Loop() {
				g.FromGuest(f, nil)
			}
		})
	}
}
