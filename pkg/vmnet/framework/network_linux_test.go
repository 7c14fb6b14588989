package framework_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"github.com/google/uuid"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
	"github.com/vmnet-cni/vmnet/pkg/vmnet/framework"
)

// TestGranted sees what a network and its devices are told of addresses, and
// where a DHCP server of the system remains.
func TestGranted(t *testing.T) {
	subnet, subnet6 := netip.MustParsePrefix("192.168.227.0/24"), netip.MustParsePrefix("fd5e:ed00:127::/64")
	for _, c := range []struct {
		name         string
		release      int
		cfg          vmnet.NetworkConfig
		gateway, end string
	}{
		{"logical", macOS26, vmnet.NetworkConfig{Subnet: subnet, Subnet6: subnet6}, "192.168.227.1", ""},
		{"logical host", macOS26, vmnet.NetworkConfig{Subnet: subnet, Mode: vmnet.Host}, "192.168.227.1", ""},
		{"own gateway on 26", macOS26, vmnet.NetworkConfig{Subnet: subnet, Gateway: netip.MustParseAddr("192.168.227.9")}, "192.168.227.9", "192.168.227.10"},
		{"own range on 26", macOS26, vmnet.NetworkConfig{Subnet: subnet, RangeEnd: netip.MustParseAddr("192.168.227.99")}, "192.168.227.1", "192.168.227.99"},
		{"classic", macOS15, vmnet.NetworkConfig{Subnet: subnet, Subnet6: subnet6}, "192.168.227.1", "192.168.227.2"},
		{"classic host", macOS15, vmnet.NetworkConfig{Subnet: subnet, Subnet6: subnet6, Mode: vmnet.Host}, "192.168.227.1", ""},
		{"oldest host", macOS10_15, vmnet.NetworkConfig{Subnet: subnet, Mode: vmnet.Host}, "192.168.227.1", "192.168.227.2"},
		{"oldest", macOS10_15, vmnet.NetworkConfig{Subnet: subnet, Subnet6: subnet6}, "192.168.227.1", "192.168.227.2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := load(t, c.release)
			n := openNetwork(t, l.driver(t, framework.Config{}), c.cfg)
			dev, err := n.Start(context.Background(), vmnet.Config{})
			if err != nil {
				t.Fatal(err)
			}
			w, i := n.Info(), dev.Info()
			end := ""
			if w.RangeEnd.IsValid() {
				end = w.RangeEnd.String()
			}
			if w.Subnet != subnet || w.Gateway.String() != c.gateway || end != c.end || w.Subnet6 != c.cfg.Subnet6 {
				t.Errorf("network %s, gateway %s, range end %q, %s", w.Subnet, w.Gateway, end, w.Subnet6)
			}
			if i.Subnet != w.Subnet || i.Gateway != w.Gateway || i.Subnet6 != w.Subnet6 {
				t.Errorf("device %s, gateway %s, %s", i.Subnet, i.Gateway, i.Subnet6)
			}
		})
	}
}

// TestMTU opens networks with other MTUs than Ethernet's.
func TestMTU(t *testing.T) {
	for _, release := range []int{macOS26, macOS15} {
		for _, mtu := range []int{1280, 9000, vmnet.MaxMTU} {
			l := load(t, release)
			cfg := shared("mtu")
			cfg.MTU = mtu
			i := start(t, l.driver(t, framework.Config{}), withName(cfg, mtu)).Info()
			if i.MTU != mtu || i.MaxPacketSize != mtu+vmnet.HeaderLen || i.ReadBatch < 1 || i.ReadBatch > 128 {
				t.Errorf("%d: mtu %d: %+v", release, mtu, i)
			}
		}
	}
}

// withName gives a network of a loop a name and a subnet of its own: the ones
// before it are closed at the end of the test.
func withName(cfg vmnet.NetworkConfig, n int) vmnet.NetworkConfig {
	cfg.Name = fmt.Sprintf("%s%d", cfg.Name, n)
	cfg.Subnet = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(n >> 8), byte(n), 0}), 24)
	return cfg
}

// TestIdentity starts the same interface again: its MAC must stay, on logical
// networks too, where the system gives a new one each time.
func TestIdentity(t *testing.T) {
	for _, release := range []int{macOS26, macOS15} {
		l := load(t, release)
		n := openNetwork(t, l.driver(t, framework.Config{}), shared("identity"))
		id, want := uuid.New(), []byte(nil)
		for range 3 {
			dev, err := n.Start(context.Background(), vmnet.Config{UUID: id})
			if err != nil {
				t.Fatal(err)
			}
			got := dev.Info().MAC
			if want == nil {
				want = got
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%d: MAC %s, before %x", release, got, want)
			}
			dev.Close()
		}
	}
}

// TestConflicts opens networks that may not be open at once.
func TestConflicts(t *testing.T) {
	l := load(t, macOS26)
	d := l.driver(t, framework.Config{})
	uplinks, err := d.(vmnet.BridgeLister).BridgeableInterfaces(context.Background())
	if err != nil || len(uplinks) == 0 {
		t.Fatalf("uplinks %q: %v", uplinks, err)
	}
	openNetwork(t, d, shared("first"))
	openNetwork(t, d, vmnet.NetworkConfig{Name: "lan", Mode: vmnet.Bridged, Uplink: uplinks[0]})
	for want, cfg := range map[string]vmnet.NetworkConfig{
		"subnet 192.168.226.0/23: network first has 192.168.227.0/24": {Subnet: netip.MustParsePrefix("192.168.226.0/23")},
		"offload true: network lan on the same bridge has offload":    {Mode: vmnet.Bridged, Uplink: uplinks[0], Offload: true},
		`uplink "none0": want one of ["`:                              {Mode: vmnet.Bridged, Uplink: "none0"},
	} {
		_, err := d.Open(context.Background(), cfg)
		if !errors.Is(err, vmnet.InvalidArgument) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	other := l.driver(t, framework.Config{}) // as another process would have it
	if _, err := other.Open(context.Background(), shared("second")); !errors.Is(err, vmnet.Failure) || !strings.Contains(err.Error(), "subnet 192.168.227.0/24 is in use") {
		t.Errorf("subnet of another driver: %v", err)
	}
}

// TestBridged starts a device on an uplink.
func TestBridged(t *testing.T) {
	l := load(t, macOS26)
	d := l.driver(t, framework.Config{})
	uplinks, err := d.(vmnet.BridgeLister).BridgeableInterfaces(context.Background())
	if err != nil || len(uplinks) == 0 {
		t.Fatalf("uplinks %q: %v", uplinks, err)
	}
	i := start(t, d, vmnet.NetworkConfig{Name: "lan", Mode: vmnet.Bridged, Uplink: uplinks[0]}).Info()
	if i.MTU != 1500 || i.Subnet.IsValid() || i.Gateway.IsValid() {
		t.Errorf("%+v", i)
	}
}

// TestOffload moves a segment of 64 KiB.
func TestOffload(t *testing.T) {
	for _, c := range []struct {
		name         string
		release      int
		wanted       bool
		header, size int
	}{
		{"checksums", macOS26, false, 0, 65550},
		{"virtio header", macOS26, true, 12, 65562},
		{"classic", macOS15, false, 0, 65550},
		{"before virtio headers", macOS15, true, 0, 65550},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := load(t, c.release)
			cfg := shared("offload")
			cfg.Offload = true
			n := openNetwork(t, l.driver(t, framework.Config{}), cfg)
			var devs [2]vmnet.Device
			for k := range devs {
				var err error
				if devs[k], err = n.Start(context.Background(), vmnet.Config{VnetHeader: c.wanted}); err != nil {
					t.Fatal(err)
				}
			}
			i := devs[0].Info()
			if i.MaxPacketSize != c.size || i.VnetHeader != c.header || i.ReadBatch != 16 || i.WriteBatch != 16 || i.MTU != 1500 {
				t.Errorf("%+v", i)
			}
			out := append(make([]byte, c.header), broadcast(i, 65550)...)
			if sent, err := devs[0].WriteBatch([][]byte{out}); sent != 1 || err != nil {
				t.Fatalf("write: %d, %v", sent, err)
			}
			bufs, sizes := buffers(i, 1)
			if readSome(t, devs[1], bufs, sizes); sizes[0] != len(out) || !bytes.Equal(bufs[0][:sizes[0]], out) {
				t.Errorf("%d bytes, want the %d that were sent", sizes[0], len(out))
			}
		})
	}
}

// TestMissing asks older releases for what newer ones brought.
func TestMissing(t *testing.T) {
	forwards := map[string]framework.NetworkOptions{"options": {}}
	for _, c := range []struct {
		release int
		cfg     framework.Config
		network vmnet.NetworkConfig
		want    string
	}{
		{macOS11, framework.Config{}, vmnet.NetworkConfig{Offload: true}, "offload: needs macOS 12.0 or later: this system has no vmnet_enable_checksum_offload_key"},
		{macOS10_15, framework.Config{}, vmnet.NetworkConfig{Isolated: true}, "isolated: needs macOS 11.0 or later"},
		{macOS15, framework.Config{Options: forwards}, vmnet.NetworkConfig{Name: "options"}, "options of network options: needs macOS 26.0 or later"},
	} {
		l := load(t, c.release)
		d := l.driver(t, c.cfg)
		_, err := d.Open(context.Background(), c.network)
		if !errors.Is(err, errors.ErrUnsupported) || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%d: %v, want %q", c.release, err, c.want)
		}
	}
	// What only a guest's interface asks for is refused by Start.
	oldest := openNetwork(t, load(t, macOS10_10).driver(t, framework.Config{}), vmnet.NetworkConfig{Name: "oldest", Layer2: true})
	mac := []byte{2, 0, 0, 0, 0, 9}
	if _, err := oldest.Start(context.Background(), vmnet.Config{MAC: mac}); !errors.Is(err, errors.ErrUnsupported) ||
		err.Error() != "mac: needs macOS 10.15 or later: this system has no vmnet_allocate_mac_address_key" {
		t.Errorf("MAC on the oldest: %v", err)
	}
	l := load(t, macOS15)
	d := l.driver(t, framework.Config{})
	n := openNetwork(t, d, shared("plain"))
	if _, err := n.(vmnet.Serializer).Serialize(context.Background()); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("serialize: %v", err)
	}
	own := shared("own")
	own.Gateway = netip.MustParseAddr("192.168.227.9")
	n = openNetwork(t, load(t, macOS26).driver(t, framework.Config{}), own)
	if _, err := n.(vmnet.Serializer).Serialize(context.Background()); !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "network own: not a logical network") {
		t.Errorf("serialize a network with a gateway of its own: %v", err)
	}
	if _, err := d.(framework.Joiner).Join(context.Background(), shared("plain"), []byte{1}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("join: %v", err)
	}
}

// TestJoin has a second driver join a network by its serialization; devices of
// both reach each other.
func TestJoin(t *testing.T) {
	l := load(t, macOS26)
	owner, guest, third := l.driver(t, framework.Config{}), l.driver(t, framework.Config{}), l.driver(t, framework.Config{})
	n := openNetwork(t, owner, shared("owner"))
	data, err := n.(vmnet.Serializer).Serialize(context.Background())
	if err != nil || len(data) == 0 {
		t.Fatalf("serialize: %d bytes, %v", len(data), err)
	}
	joined, err := guest.(framework.Joiner).Join(context.Background(), shared("joined"), data)
	if err != nil {
		t.Fatal(err)
	}
	defer joined.Close()
	a, err := n.Start(context.Background(), vmnet.Config{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := joined.Start(context.Background(), vmnet.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.WriteBatch([][]byte{broadcast(a.Info(), 77)}); err != nil {
		t.Fatal(err)
	}
	bufs, sizes := buffers(b.Info(), 1)
	if readSome(t, b, bufs, sizes); sizes[0] != 77 {
		t.Errorf("%d bytes", sizes[0])
	}
	wrong := shared("wrong")
	wrong.Subnet = netip.MustParsePrefix("192.168.228.0/24")
	if _, err := third.(framework.Joiner).Join(context.Background(), wrong, data); err == nil || !strings.Contains(err.Error(), "the system granted 192.168.227.0/24") {
		t.Errorf("join what is another subnet: %v", err)
	}
	for _, bad := range [][]byte{nil, []byte("nonsense")} {
		if _, err := third.(framework.Joiner).Join(context.Background(), shared("bad"), bad); err == nil {
			t.Errorf("join %q: no error", bad)
		}
	}
}

// TestOptions makes a logical network with everything that is set at creation.
func TestOptions(t *testing.T) {
	l := load(t, macOS26)
	mac := []byte{2, 0, 0, 0, 0, 9}
	addr := netip.MustParseAddr("192.168.227.9")
	rule := vmnet.Forward{Protocol: vmnet.TCP, External: netip.AddrPortFrom(netip.Addr{}, 8080), Internal: netip.AddrPortFrom(addr, 80)}
	options := framework.NetworkOptions{
		Uplink: "en0", Forwards: []vmnet.Forward{rule},
		Reservations: []framework.Reservation{{MAC: mac, Addr: addr}},
	}
	d := l.driver(t, framework.Config{Options: map[string]framework.NetworkOptions{"options": options}})
	start(t, d, shared("options"))

	for want, o := range map[string]framework.NetworkOptions{
		"reservation 192.168.227.9 for 02: want a MAC of 6 bytes":              {Reservations: []framework.Reservation{{MAC: mac[:1], Addr: addr}}},
		"forward tcp *:0 -> 192.168.227.9:80: want ports":                      {Forwards: []vmnet.Forward{{Protocol: vmnet.TCP, Internal: rule.Internal}}},
		"forward icmp *:8080 -> 192.168.227.9:80: only tcp and udp":            {Forwards: []vmnet.Forward{{Protocol: vmnet.ICMP, External: rule.External, Internal: rule.Internal}}},
		"forward tcp *:8080 -> invalid AddrPort: want ports from 1 to 65535: ": {Forwards: []vmnet.Forward{{Protocol: vmnet.TCP, External: rule.External}}},
	} {
		bad := l.driver(t, framework.Config{Options: map[string]framework.NetworkOptions{"bad": o}})
		cfg := shared("bad")
		cfg.Subnet = netip.MustParsePrefix("192.168.228.0/24")
		if _, err := bad.Open(context.Background(), cfg); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// TestForwards adds, lists and removes rules with the newer and the older calls.
func TestForwards(t *testing.T) {
	for _, release := range []int{macOS26, macOS15, macOS10_15} {
		t.Run(fmt.Sprint(release), func(t *testing.T) {
			l := load(t, release)
			dev := start(t, l.driver(t, framework.Config{Classic: true}), shared("forwards"))
			f := dev.(vmnet.Forwarder)
			ctx := context.Background()
			tcp := forward(vmnet.TCP, 8080, "192.168.227.9:80")
			udp := forward(vmnet.UDP, 8080, "192.168.227.10:53")
			six := forward(vmnet.TCP, 8443, "[fd5e:ed00:127::9]:443")
			want := map[vmnet.Forward]bool{tcp: true, udp: true}
			for _, rule := range []vmnet.Forward{tcp, udp, six} {
				err := f.AddForward(ctx, rule)
				if rule == six && release == macOS10_15 {
					if !errors.Is(err, errors.ErrUnsupported) {
						t.Errorf("IPv6 on %d: %v", release, err)
					}
					continue
				}
				if err != nil {
					t.Errorf("add %s: %v", rule, err)
				}
				want[rule] = true
			}
			if err := f.AddForward(ctx, forward(vmnet.TCP, 8080, "192.168.227.11:80")); !errors.Is(err, syscall.EADDRINUSE) {
				t.Errorf("a port that is taken: %v", err)
			}
			checkForwards(t, f, want)
			for range 2 {
				if err := f.RemoveForward(ctx, tcp); err != nil {
					t.Errorf("remove: %v", err)
				}
			}
			delete(want, tcp)
			checkForwards(t, f, want)
			l.control(t, "fail.rule", 1001)
			if err := f.AddForward(ctx, tcp); !errors.Is(err, vmnet.Failure) {
				t.Errorf("refused: %v", err)
			}
		})
	}
}

func forward(p vmnet.Protocol, port uint16, to string) vmnet.Forward {
	return vmnet.Forward{Protocol: p, External: netip.AddrPortFrom(netip.Addr{}, port), Internal: netip.MustParseAddrPort(to)}
}

func checkForwards(t *testing.T, f vmnet.Forwarder, want map[vmnet.Forward]bool) {
	t.Helper()
	list, err := f.Forwards(context.Background())
	if err != nil || len(list) != len(want) {
		t.Errorf("rules %s, want %d: %v", list, len(want), err)
	}
	for _, rule := range list {
		if !want[rule] {
			t.Errorf("rule %s is unknown", rule)
		}
	}
}

// TestNew loads what is no framework.
func TestNew(t *testing.T) {
	if _, err := framework.New(framework.Config{Library: "libc.so.6"}); err == nil || !strings.Contains(err.Error(), "vmnet_start_interface is missing") {
		t.Errorf("a library without the ABI: %v", err)
	}
	if _, err := framework.New(framework.Config{Library: "/nowhere/libvmnet.so"}); err == nil || !strings.Contains(err.Error(), "/nowhere/libvmnet.so") {
		t.Errorf("a library that is not there: %v", err)
	}
	t.Setenv(framework.LibraryEnv, "")
	if _, err := framework.New(framework.Config{}); !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), framework.LibraryEnv) {
		t.Errorf("no library named: %v", err)
	}
}
