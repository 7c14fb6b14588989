package bsd_test

import (
	"bytes"
	"encoding/hex"
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"go/types"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmnet-cni/vmnet/pkg/shim/netlink/internal/bsd"
)

// unhex reads hexadecimal digits with spaces and newlines.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// sys type-checks a file of golang.org/x/sys/unix, which cgo made from Apple's
// headers on a Mac, for one architecture.
func sys(t *testing.T, name string) *types.Package {
	t.Helper()
	p, err := build.Import("golang.org/x/sys/unix", ".", build.FindOnly)
	if err != nil {
		t.Fatal(err)
	}
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	conf := types.Config{Error: func(error) {}} // what other files declare is missing
	pkg, _ := conf.Check("unix", fset, []*ast.File{f}, nil)
	return pkg
}

// TestLayouts compares each message with the struct of Apple's header: marks at
// the offsets of its fields must come out of the decoder.
func TestLayouts(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		pkg := sys(t, "ztypes_darwin_"+arch+".go")
		sizes := types.SizesFor("gc", arch)
		for _, c := range []struct {
			name  string // net/route.h, net/if.h, net/if_var.h
			typ   uint8
			size  int64
			check func(t *testing.T, put func(field string, v byte), parse func() bsd.Message)
		}{
			{"RtMsghdr", bsd.RtmGet, 92, checkRoute},
			{"IfMsghdr", bsd.RtmIfinfo, 112, checkLink},
			{"IfMsghdr2", bsd.RtmIfinfo2, 160, checkLink},
			{"IfaMsghdr", bsd.RtmNewAddr, 20, checkAddr},
		} {
			t.Run(arch+"/"+c.name, func(t *testing.T) {
				s := pkg.Scope().Lookup(c.name).Type().Underlying().(*types.Struct)
				if n := sizes.Sizeof(s); n != c.size {
					t.Fatalf("size %d, want %d", n, c.size)
				}
				b := make([]byte, c.size)
				put := func(field string, v byte) { b[offset(t, sizes, s, field)] = v }
				put("Msglen", byte(c.size))
				put("Version", bsd.RtmVersion)
				put("Type", c.typ)
				c.check(t, put, func() bsd.Message {
					m, rest, err := bsd.Parse(b)
					if err != nil || len(rest) != 0 {
						t.Fatalf("parse: %v, %d bytes left", err, len(rest))
					}
					again, err := m.Marshal()
					if err != nil || !bytes.Equal(again, b) {
						t.Errorf("marshal: %v\n%x, want\n%x", err, again, b)
					}
					return m
				})
			})
		}
	}
}

// offset returns where a field lies: "Data.Mtu" is one of a struct inside.
func offset(t *testing.T, sizes types.Sizes, s *types.Struct, path string) int64 {
	t.Helper()
	first, rest, deep := strings.Cut(path, ".")
	var fields []*types.Var
	for i := range s.NumFields() {
		fields = append(fields, s.Field(i))
	}
	for i, at := range sizes.Offsetsof(fields) {
		if fields[i].Name() != first {
			continue
		}
		if deep {
			return at + offset(t, sizes, fields[i].Type().Underlying().(*types.Struct), rest)
		}
		return at
	}
	t.Fatalf("no field %s", path)
	return 0
}

func checkRoute(t *testing.T, put func(string, byte), parse func() bsd.Message) {
	for i, f := range []string{
		"Index", "Flags", "Pid", "Seq", "Errno", "Use", "Inits", "Rmx.Locks", "Rmx.Mtu", "Rmx.Hopcount", "Rmx.Expire",
		"Rmx.Recvpipe", "Rmx.Sendpipe", "Rmx.Ssthresh", "Rmx.Rtt", "Rmx.Rttvar", "Rmx.Pksent",
	} {
		put(f, byte(i+1))
	}
	want := bsd.RouteMsg{
		Type: bsd.RtmGet, Index: 1, Flags: 2, Pid: 3, Seq: 4, Errno: 5, Use: 6, Inits: 7,
		Metrics: bsd.Metrics{
			Locks: 8, MTU: 9, HopCount: 10, Expire: 11, RecvPipe: 12, SendPipe: 13, Ssthresh: 14, RTT: 15, RTTVar: 16, Packets: 17,
		},
	}
	same(t, parse(), &want)
}

func checkLink(t *testing.T, put func(string, byte), parse func() bsd.Message) {
	for i, f := range []string{
		"Flags", "Index", "Data.Type", "Data.Mtu", "Data.Baudrate", "Data.Ipackets", "Data.Ierrors", "Data.Opackets",
		"Data.Oerrors", "Data.Collisions", "Data.Ibytes", "Data.Obytes", "Data.Imcasts", "Data.Omcasts", "Data.Iqdrops", "Data.Noproto",
	} {
		put(f, byte(i+1))
	}
	got := parse().(*bsd.LinkMsg)
	same(t, got, &bsd.LinkMsg{
		Type: got.Type, Flags: 1, Index: 2,
		Data: bsd.LinkData{
			IfType: 3, MTU: 4, Baud: 5, RxPackets: 6, RxErrors: 7, TxPackets: 8, TxErrors: 9, Collisions: 10,
			RxBytes: 11, TxBytes: 12, RxMulticast: 13, TxMulticast: 14, RxDropped: 15, NoProto: 16,
		},
	})
	if got.Type == bsd.RtmIfinfo2 {
		put("Snd_maxlen", 99)
		if m := parse().(*bsd.LinkMsg); m.QLen != 99 {
			t.Errorf("queue %d, want 99", m.QLen)
		}
	}
}

func checkAddr(t *testing.T, put func(string, byte), parse func() bsd.Message) {
	put("Flags", 1)
	put("Index", 2)
	put("Metric", 3)
	same(t, parse(), &bsd.AddrMsg{Type: bsd.RtmNewAddr, Flags: 1, Index: 2, Metric: 3})
}

// TestConstants compares the constants with those that cgo found on a Mac.
func TestConstants(t *testing.T) {
	pkg := sys(t, "zerrors_darwin_arm64.go")
	for name, got := range map[string]int{
		"AF_INET": bsd.AFInet, "AF_INET6": bsd.AFInet6, "AF_LINK": bsd.AFLink,
		"RTM_VERSION": bsd.RtmVersion, "RTM_ADD": bsd.RtmAdd, "RTM_DELETE": bsd.RtmDelete, "RTM_CHANGE": bsd.RtmChange,
		"RTM_GET": bsd.RtmGet, "RTM_RESOLVE": bsd.RtmResolve, "RTM_NEWADDR": bsd.RtmNewAddr, "RTM_DELADDR": bsd.RtmDelAddr,
		"RTM_IFINFO": bsd.RtmIfinfo, "RTM_IFINFO2": bsd.RtmIfinfo2,
		"RTF_UP": bsd.RtfUp, "RTF_GATEWAY": bsd.RtfGateway, "RTF_HOST": bsd.RtfHost, "RTF_REJECT": bsd.RtfReject,
		"RTF_DYNAMIC": bsd.RtfDynamic, "RTF_DONE": bsd.RtfDone, "RTF_CLONING": bsd.RtfCloning, "RTF_LLINFO": bsd.RtfLLInfo,
		"RTF_STATIC": bsd.RtfStatic, "RTF_BLACKHOLE": bsd.RtfBlackhole, "RTF_WASCLONED": bsd.RtfWasCloned,
		"RTF_LOCAL": bsd.RtfLocal, "RTF_BROADCAST": bsd.RtfBroadcast, "RTF_MULTICAST": bsd.RtfMulticast,
		"RTF_IFSCOPE": bsd.RtfIfscope, "RTF_PROXY": bsd.RtfProxy, "RTV_MTU": bsd.RtvMTU, "RTV_EXPIRE": bsd.RtvExpire,
		"NET_RT_DUMP": bsd.NetRtDump, "NET_RT_FLAGS": bsd.NetRtFlags, "NET_RT_IFLIST2": bsd.NetRtIflist2,
		"IFF_UP": bsd.IffUp, "IFF_BROADCAST": bsd.IffBroadcast, "IFF_LOOPBACK": bsd.IffLoopback,
		"IFF_POINTOPOINT": bsd.IffPointopoint, "IFF_RUNNING": bsd.IffRunning, "IFF_NOARP": bsd.IffNoARP,
		"IFF_PROMISC": bsd.IffPromisc, "IFF_ALLMULTI": bsd.IffAllmulti, "IFF_MULTICAST": bsd.IffMulticast,
		"IFT_ETHER": bsd.IftEther, "IFT_LOOP": bsd.IftLoop, "IFT_L2VLAN": bsd.IftL2VLAN, "IFT_BRIDGE": bsd.IftBridge,
		"SIOCGIFFLAGS": bsd.SIOCGIFFLAGS, "SIOCSIFFLAGS": bsd.SIOCSIFFLAGS, "SIOCSIFMTU": bsd.SIOCSIFMTU,
		"SIOCSIFLLADDR": bsd.SIOCSIFLLADDR, "SIOCIFCREATE2": bsd.SIOCIFCREATE2, "SIOCIFDESTROY": bsd.SIOCIFDESTROY,
		"SIOCAIFADDR": bsd.SIOCAIFADDR, "SIOCDIFADDR": bsd.SIOCDIFADDR, "SIOCSDRVSPEC": bsd.SIOCSDRVSPEC, "SIOCGDRVSPEC": bsd.SIOCGDRVSPEC,
	} {
		c, ok := pkg.Scope().Lookup(name).(*types.Const)
		if !ok || c.Val().String() != types.NewConst(0, nil, "", nil, constInt(got)).Val().String() {
			t.Errorf("%s is %v, have %#x", name, c, got)
		}
	}
	// _IOW and _IOWR of sys/ioccom.h for what that file lacks.
	const out, in = 0x40000000, 0x80000000
	for _, c := range []struct {
		name            string
		dir, size, n, v int
	}{
		{"SIOCAIFADDR_IN6", in, 128, 26, bsd.SIOCAIFADDR_IN6},
		{"SIOCDIFADDR_IN6", in, 288, 25, bsd.SIOCDIFADDR_IN6},
		{"SIOCSIFDESC", in | out, 148, 143, bsd.SIOCSIFDESC},
		{"SIOCGIFDESC", in | out, 148, 144, bsd.SIOCGIFDESC},
	} {
		if want := c.dir | c.size<<16 | 'i'<<8 | c.n; want != c.v {
			t.Errorf("%s: %#x, want %#x", c.name, c.v, want)
		}
	}
}

// TestIoctls compares the structures with their bytes by the headers.
func TestIoctls(t *testing.T) {
	must := func(b []byte, err error) string {
		if err != nil {
			t.Error(err)
		}
		return hex.EncodeToString(b)
	}
	name := "656e3000 00000000 00000000 00000000" // char[16] "en0"
	zeros := func(n int) string { return strings.Repeat("00", n) }
	prefix := netip.MustParsePrefix

	flags, err := bsd.NewIfreq("en0")
	flags.SetFlags(0x8863)
	mtu := flags
	mtu.SetMTU(1500)
	hw, _ := bsd.NewIfreq("en0")
	err2 := hw.SetHW(net.HardwareAddr{2, 0, 0, 0, 0, 1})
	ip, _ := bsd.NewIfreq("en0")
	err3 := ip.SetIP(netip.MustParseAddr("10.1.2.3"))
	alias, err4 := bsd.Aliasreq("en0", prefix("10.1.2.3/20"), netip.MustParseAddr("10.1.15.255"))
	bare, err5 := bsd.Aliasreq("en0", prefix("10.1.2.3/32"), netip.Addr{})
	alias6, err6 := bsd.Aliasreq6("en0", prefix("fe80::1/64"), 0, 600)
	del6, err7 := bsd.Ifreq6("en0", netip.MustParseAddr("fd00::1"))
	drv, err8 := bsd.Ifdrv("en0", bsd.FakeSetPeer, 0x1122334455667788, 160)
	br, err9 := bsd.Ifbreq("en0")
	fake, err10 := bsd.FakeRequest("en0")
	desc, err11 := bsd.Descreq("en0", "hi")
	ask, err12 := bsd.AskDescription("en0")
	for _, c := range []struct{ what, got, want string }{
		// net/if.h: struct ifreq { char ifr_name[16]; union { struct sockaddr ifru_addr; short ifru_flags; int ifru_mtu; … } }
		{"ifreq, ifr_flags", must(flags[:], err), name + "6388" + zeros(14)},
		{"ifreq, ifr_mtu", must(mtu[:], err), name + "dc050000" + zeros(12)},
		{"ifreq, ifr_addr of AF_LINK", must(hw[:], err2), name + "0612 0200 0000 0001" + zeros(8)},
		{"ifreq, ifr_addr of AF_INET", must(ip[:], err3), name + "1002 0000 0a010203" + zeros(8)},
		// net/if.h: struct ifaliasreq { char ifra_name[16]; struct sockaddr ifra_addr, ifra_broadaddr, ifra_mask; }
		{"ifaliasreq", must(alias[:], err4), name + "10020000 0a010203" + zeros(8) + "10020000 0a010fff" + zeros(8) + "10020000 fffff000" + zeros(8)},
		{"ifaliasreq alone", must(bare[:], err5), name + "10020000 0a010203" + zeros(8) + zeros(16) + "10020000 ffffffff" + zeros(8)},
		// netinet6/in6_var.h: struct in6_aliasreq { char ifra_name[16]; struct sockaddr_in6 ifra_addr, ifra_dstaddr,
		// ifra_prefixmask; int ifra_flags; struct in6_addrlifetime { time_t expire, preferred; u_int32_t vltime, pltime; } }
		{
			"in6_aliasreq", must(alias6[:], err6), name +
				"1c1e0000 00000000 fe80000000000000 0000000000000001 00000000" + zeros(28) +
				"1c1e0000 00000000 ffffffffffffffff 0000000000000000 00000000" + "00000000" + zeros(16) + "ffffffff 58020000",
		},
		// netinet6/in6_var.h: struct in6_ifreq { char ifr_name[16]; union { struct sockaddr_in6; struct icmp6_ifstat (272); … } }
		{"in6_ifreq", must(del6[:], err7), name + "1c1e0000 00000000 fd000000000000000000000000000001 00000000" + zeros(244)},
		// net/if.h: struct ifdrv { char ifd_name[16]; unsigned long ifd_cmd; size_t ifd_len; void *ifd_data; }
		{"ifdrv", must(drv[:], err8), name + "0100000000000000 a000000000000000 8877665544332211"},
		// net/if_bridgevar.h: struct ifbreq { char ifbr_ifsname[16]; uint32_t ifsflags, stpflags, path_cost; uint8_t portno,
		// priority, proto, role, state; uint32_t addrcnt, addrmax, addrexceeded; uint8_t pad[32]; }, packed to 4
		{"ifbreq", must(br[:], err9), name + zeros(12) + zeros(5+3) + zeros(12) + zeros(32)},
		// net/if_fake_var.h: struct if_fake_request { uint64_t iffr_reserved[4]; union { char iffru_buf[128]; char iffru_peer_name[16]; … } }
		{"if_fake_request", must(fake[:], err10), zeros(32) + name + zeros(112)},
		// net/if.h: struct if_descreq { char ifdr_name[16]; u_int32_t ifdr_len; u_int8_t ifdr_desc[128]; }
		{"if_descreq, set", must(desc[:], err11), name + "02000000 6869" + zeros(126)},
		{"if_descreq, get", must(ask[:], err12), name + "80000000" + zeros(128)},
	} {
		if want := hex.EncodeToString(unhex(t, c.want)); c.got != want {
			t.Errorf("%s:\n%s, want\n%s", c.what, c.got, want)
		}
	}
	if got := bsd.FakePeer(fake); got != "en0" {
		t.Errorf("peer %q", got)
	}
	if got := bsd.Description(desc); got != "hi" {
		t.Errorf("description %q", got)
	}
	if flags.Name() != "en0" || flags.Flags() != 0x8863 {
		t.Errorf("ifreq %q %#x", flags.Name(), flags.Flags())
	}
}
