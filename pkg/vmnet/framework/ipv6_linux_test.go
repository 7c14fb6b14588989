package framework_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
	"github.com/vmnet-cni/vmnet/pkg/vmnet/framework"
)

// frameOf returns a broadcast IPv6 frame with an ICMPv6 message of that type.
func frameOf(kind byte) []byte {
	f := make([]byte, 70)
	copy(f, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 9, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 16, 58, 255})
	f[54] = kind
	return f
}

// TestAdverts sees the router advertisements of the system kept from guests where
// they cannot be switched off, and every other frame arrive in its order.
func TestAdverts(t *testing.T) {
	for i, c := range []struct {
		release int
		mode    vmnet.Mode
		layer2  bool
		kept    bool
	}{
		{macOS15, vmnet.Shared, false, true}, {macOS15, vmnet.Shared, true, false},
		{macOS15, vmnet.Host, false, false}, {macOS26, vmnet.Shared, false, false},
	} {
		l := load(t, c.release)
		d := l.driver(t, framework.Config{})
		cfg := withName(shared("adverts"), i)
		cfg.Mode, cfg.Layer2 = c.mode, c.layer2
		if c.layer2 {
			cfg.Subnet = netip.Prefix{}
		}
		n := openNetwork(t, d, cfg)
		var devs [2]vmnet.Device
		for i := range devs {
			var err error
			if devs[i], err = n.Start(context.Background(), vmnet.Config{}); err != nil {
				t.Fatal(err)
			}
		}
		sent := [][]byte{frameOf(134), frameOf(1), frameOf(134), frameOf(134), frameOf(2), frameOf(3), frameOf(134)}
		if sent, err := devs[0].WriteBatch(sent); err != nil || sent != 7 {
			t.Fatalf("%d sent, %v", sent, err)
		}
		want := []byte{134, 1, 134, 134, 2, 3, 134}
		if c.kept {
			want = []byte{1, 2, 3}
		}
		if got := kinds(t, devs[1], len(want)); string(got) != string(want) {
			t.Errorf("%d %s: got messages %v, want %v", c.release, c.mode, got, want)
		}
		if got := d.(framework.Inspector).Stats().Adverts; c.kept != (got == 4) {
			t.Errorf("%d %s: %d advertisements kept", c.release, c.mode, got)
		}
	}
}

// kinds reads frames until there are n and nothing waits, and returns their types.
func kinds(t *testing.T, d vmnet.Device, n int) (got []byte) {
	t.Helper()
	bufs, sizes := make([][]byte, 16), make([]int, 16)
	for i := range bufs {
		bufs[i] = make([]byte, d.Info().MaxPacketSize)
	}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		k, err := d.ReadBatch(bufs, sizes)
		if errors.Is(err, vmnet.ErrNoPackets) {
			if len(got) >= n {
				return got
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for i := range k {
			if sizes[i] == 70 && bufs[i][12] == 0x86 {
				got = append(got, bufs[i][54])
			}
		}
	}
	return got
}

// TestNoIPv6 opens networks with IPv6 that this macOS does not have.
func TestNoIPv6(t *testing.T) {
	subnet6 := netip.MustParsePrefix("fd5e:ed00:127::/64")
	for _, c := range []struct {
		release int
		change  func(*vmnet.NetworkConfig)
		want    error
	}{
		{macOS10_15, func(c *vmnet.NetworkConfig) { c.Mode = vmnet.Host }, errors.ErrUnsupported},
		{macOS15, func(c *vmnet.NetworkConfig) { c.Mode, c.RangeEnd = vmnet.Host, c.Subnet.Addr().Next().Next() }, errors.ErrUnsupported},
		{macOS15, func(c *vmnet.NetworkConfig) { c.Subnet6 = netip.MustParsePrefix("2001:db8::/64") }, vmnet.InvalidArgument},
	} {
		cfg := shared("none")
		cfg.Subnet6 = subnet6
		c.change(&cfg)
		if _, err := load(t, c.release).driver(t, framework.Config{}).Open(context.Background(), cfg); !errors.Is(err, c.want) {
			t.Errorf("%d: %v, want %v", c.release, err, c.want)
		}
	}
}
