package bsd_test

import (
	"errors"
	"go/constant"
	"net"
	"net/netip"
	"reflect"
	"testing"

	"github.com/vmnet-cni/vmnet/pkg/shim/netlink/internal/bsd"
)

func constInt(v int) constant.Value { return constant.MakeInt64(int64(v)) }

func same(t *testing.T, got, want bsd.Message) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

// rt is a struct rt_msghdr (net/route.h) of 92 bytes with a length, a type, an
// index, flags and addresses; the rest is zero.
func rt(length, typ, index, flags, addrs string) string {
	return length + "05" + typ + index + "0000" + flags + addrs +
		"00000000 07000000 00000000 00000000 00000000" +
		"00000000 dc050000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000"
}

// messages are bytes as macOS sends them, by the headers, and what they say.
var messages = []struct {
	name, hex string
	want      bsd.Message
	exact     bool // Marshal gives the same bytes: macOS writes some addresses shorter
}{
	{
		name: "default route by a gateway: the mask has no bytes",
		hex: rt("8000", "04", "0400", "03080000", "07000000") +
			"10020000 00000000 00000000 00000000" + // sockaddr_in 0.0.0.0
			"10020000 c0a80101 00000000 00000000" + // sockaddr_in 192.168.1.1
			"00000000",
		want: &bsd.RouteMsg{
			Type: bsd.RtmGet, Index: 4, Flags: bsd.RtfUp | bsd.RtfGateway | bsd.RtfStatic, Seq: 7, Metrics: bsd.Metrics{MTU: 1500},
			Dst: ip4("0.0.0.0"), Gateway: ip4("192.168.1.1"), Mask: bsd.Prefix(0),
		},
	},
	{
		name: "network on a link: the mask ends with its last one, the gateway is a sockaddr_dl",
		hex: rt("8800", "01", "0400", "01010000", "07000000") +
			"10020000 c0a87f00 00000000 00000000" +
			"14120400 06030000 656e3000 00000000 00000000" +
			"07ff0000 ffffff00",
		want: &bsd.RouteMsg{
			Type: bsd.RtmAdd, Index: 4, Flags: bsd.RtfUp | bsd.RtfCloning, Seq: 7, Metrics: bsd.Metrics{MTU: 1500},
			Dst:     ip4("192.168.127.0"),
			Gateway: bsd.OnLink(bsd.Link{Index: 4, Type: bsd.IftEther, Name: "en0"}), Mask: bsd.Prefix(24),
		},
	},
	{
		name: "neighbour with its hardware address",
		hex: rt("8000", "02", "0400", "05040000", "03000000") +
			"10020000 c0a87f02 00000000 00000000" +
			"14120400 06000600 02000000 00010000 00000000",
		want: &bsd.RouteMsg{
			Type: bsd.RtmDelete, Index: 4, Flags: bsd.RtfUp | bsd.RtfHost | bsd.RtfLLInfo, Seq: 7, Metrics: bsd.Metrics{MTU: 1500},
			Dst:     ip4("192.168.127.2"),
			Gateway: bsd.OnLink(bsd.Link{Index: 4, Type: bsd.IftEther, HW: net.HardwareAddr{2, 0, 0, 0, 0, 1}}),
		},
		exact: true,
	},
	{
		name: "link-local network: the scope is inside of the address",
		hex: rt("b000", "04", "0500", "01010000", "07000000") +
			"1c1e0000 00000000 fe800005 00000000 00000000 00000000 05000000" +
			"1c1e0000 00000000 fe800005 00000000 00000000 00000001 05000000" +
			"1c1e0000 00000000 ffffffff ffffffff 00000000 00000000 00000000",
		want: &bsd.RouteMsg{
			Type: bsd.RtmGet, Index: 5, Flags: bsd.RtfUp | bsd.RtfCloning, Seq: 7, Metrics: bsd.Metrics{MTU: 1500},
			Dst: bsd.IP(netip.MustParseAddr("fe80::"), 5), Gateway: bsd.IP(netip.MustParseAddr("fe80::1"), 5), Mask: bsd.Prefix(64),
		},
		exact: true,
	},
	{
		name: "interface: struct if_msghdr2 and its sockaddr_dl",
		hex: "b400 05 12 10000000 63880000 0400 0000 00000000 80000000 00000000 00000000" +
			"06 06 00 06 0e 00 00 00 dc050000 00000000" +
			"00ca9a3b00000000 0100000000000000 0200000000000000 0300000000000000 0400000000000000 0500000000000000" +
			"0600000000000000 0700000000000000 0800000000000000 0900000000000000 0a00000000000000 0b00000000000000" +
			"00000000 00000000 00000000 00000000" +
			"14120400 06030600 656e30 020000000001 000000",
		want: &bsd.LinkMsg{
			Type: bsd.RtmIfinfo2, Flags: 0x8863, Index: 4, QLen: 128,
			Data: bsd.LinkData{
				IfType: bsd.IftEther, MTU: 1500, Baud: 1e9, RxPackets: 1, RxErrors: 2, TxPackets: 3, TxErrors: 4, Collisions: 5,
				RxBytes: 6, TxBytes: 7, RxMulticast: 8, TxMulticast: 9, RxDropped: 10, NoProto: 11,
			},
			Ifp: bsd.OnLink(bsd.Link{Index: 4, Type: bsd.IftEther, Name: "en0", HW: net.HardwareAddr{2, 0, 0, 0, 0, 1}}),
		},
	},
	{
		name: "address: struct ifa_msghdr; the mask has another family and is cut",
		hex: "5000 05 0c b4000000 01000000 0400 0000 00000000" +
			"07ff0000 ffffff00" +
			"14120400 06030000 656e3000 00000000 00000000" +
			"10020000 c0a87f01 00000000 00000000" +
			"10020000 c0a87fff 00000000 00000000",
		want: &bsd.AddrMsg{
			Type: bsd.RtmNewAddr, Flags: 1, Index: 4, Mask: bsd.Prefix(24),
			Ifp: bsd.OnLink(bsd.Link{Index: 4, Type: bsd.IftEther, Name: "en0"}),
			Ifa: ip4("192.168.127.1"), Brd: ip4("192.168.127.255"),
		},
	},
	{
		name: "mask with a hole",
		hex: rt("7400", "04", "0400", "01000000", "05000000") +
			"10020000 0a000000 00000000 00000000" + "08ff0000 ff00ff00",
		want: &bsd.RouteMsg{
			Type: bsd.RtmGet, Index: 4, Flags: bsd.RtfUp, Seq: 7, Metrics: bsd.Metrics{MTU: 1500},
			Dst: ip4("10.0.0.0"), Mask: bsd.Mask{Set: true, Bits: -1},
		},
	},
}

func ip4(s string) bsd.Sockaddr { return bsd.IP(netip.MustParseAddr(s), 0) }

func TestMessages(t *testing.T) {
	var list []byte
	var want []bsd.Message
	for _, c := range messages {
		t.Run(c.name, func(t *testing.T) {
			b := unhex(t, c.hex)
			m, rest, err := bsd.Parse(b)
			if err != nil || len(rest) != 0 {
				t.Fatalf("%v, %d bytes left", err, len(rest))
			}
			same(t, m, c.want)
			if again, err := m.Marshal(); c.exact && (err != nil || string(again) != string(b)) {
				t.Errorf("%v\n%x, want\n%x", err, again, b)
			}
			roundTrip(t, m)
		})
		list = append(list, unhex(t, c.hex)...)
		list = append(list, unhex(t, "0400 05 07")...) // RTM_MISS: not ours
		list = append(list, unhex(t, "0400 03 01")...) // another version
		want = append(want, c.want)
	}
	got, err := bsd.ParseAll(list)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("list: %v, %v", got, err)
	}
}

// roundTrip marshals a message and parses it again.
func roundTrip(t *testing.T, m bsd.Message) {
	t.Helper()
	b, err := m.Marshal()
	if err != nil {
		return // a mask with a hole, a family that is not known
	}
	again, rest, err := bsd.Parse(b)
	if err != nil || len(rest) != 0 {
		t.Fatalf("parse %x again: %v, %d bytes left", b, err, len(rest))
	}
	same(t, again, m)
}

func TestShort(t *testing.T) {
	for _, c := range messages {
		b := unhex(t, c.hex)
		for n := range b {
			if _, _, err := bsd.Parse(b[:n]); !errors.Is(err, bsd.ErrShort) {
				t.Errorf("%s: %d bytes of %d: %v", c.name, n, len(b), err)
			}
		}
	}
}

func TestBad(t *testing.T) {
	long := "abcdefghijklmnop"
	four, six := netip.MustParsePrefix("10.0.0.1/8"), netip.MustParsePrefix("fd00::1/64")
	one := func(_ any, err error) error { return err }
	for what, err := range map[string]error{
		"name":      one(bsd.NewIfreq(long)),
		"no name":   one(bsd.Ifbreq("")),
		"zero":      one(bsd.Ifreq6("a\x00b", six.Addr())),
		"v6 in v4":  one(bsd.Aliasreq("en0", six, netip.Addr{})),
		"v6 other":  one(bsd.Aliasreq("en0", four, six.Addr())),
		"v4 in v6":  one(bsd.Aliasreq6("en0", four, 0, 0)),
		"del v4":    one(bsd.Ifreq6("en0", four.Addr())),
		"peer":      one(bsd.FakeRequest(long)),
		"alias":     one(bsd.Descreq("en0", string(make([]byte, 128)))),
		"hw":        new(bsd.Ifreq).SetHW(make(net.HardwareAddr, 15)),
		"no hw":     new(bsd.Ifreq).SetHW(nil),
		"ip":        new(bsd.Ifreq).SetIP(six.Addr()),
		"mask":      one((&bsd.RouteMsg{Dst: ip4("10.0.0.0"), Mask: bsd.Prefix(33)}).Marshal()),
		"family":    one((&bsd.RouteMsg{Dst: bsd.Sockaddr{Family: 99}}).Marshal()),
		"not v4":    one((&bsd.RouteMsg{Dst: bsd.Sockaddr{Family: bsd.AFInet}}).Marshal()),
		"not v6":    one((&bsd.RouteMsg{Dst: bsd.Sockaddr{Family: bsd.AFInet6, IP: four.Addr()}}).Marshal()),
		"scope":     one((&bsd.RouteMsg{Dst: bsd.IP(netip.MustParseAddr("fe80::1"), 1<<16)}).Marshal()),
		"link name": one((&bsd.LinkMsg{Ifp: bsd.OnLink(bsd.Link{Name: long})}).Marshal()),
		"link hw":   one((&bsd.LinkMsg{Ifp: bsd.OnLink(bsd.Link{HW: make(net.HardwareAddr, 250)})}).Marshal()),
	} {
		if err == nil {
			t.Errorf("%s: no error", what)
		}
	}
}

// FuzzParse reads what anybody may send. What is read is written and read again.
func FuzzParse(f *testing.F) {
	for _, c := range messages {
		f.Add(unhex(f, c.hex))
	}
	f.Add(unhex(f, "0400 05 07"))
	f.Fuzz(func(t *testing.T, b []byte) {
		all, _ := bsd.ParseAll(b)
		for _, m := range all {
			roundTrip(t, m)
		}
	})
}

// FuzzAnswers reads what the kernel wrote into requests.
func FuzzAnswers(f *testing.F) {
	d, _ := bsd.Descreq("en0", "hi")
	f.Add(d[:])
	f.Fuzz(func(t *testing.T, b []byte) {
		var desc [148]byte
		var fake [160]byte
		var req bsd.Ifreq
		copy(desc[:], b)
		copy(fake[:], b)
		copy(req[:], b)
		if len(bsd.Description(desc)) > 128 || len(bsd.FakePeer(fake)) > 16 || len(req.Name()) > 16 {
			t.Error("a text longer than its field")
		}
	})
}
