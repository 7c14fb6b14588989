package server_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// arpOf returns an ARP reply that tells everybody where an address is.
func arpOf(t *testing.T, src, mac, addr string) []byte {
	t.Helper()
	from, err := net.ParseMAC(src)
	if err != nil {
		t.Fatal(err)
	}
	hw, err := net.ParseMAC(mac)
	if err != nil {
		t.Fatal(err)
	}
	f := append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, from...)
	f = append(f, 8, 6, 0, 1, 8, 0, 6, 4, 0, 2)
	f = append(append(f, hw...), netip.MustParseAddr(addr).AsSlice()...)
	return append(append(f, hw...), netip.MustParseAddr(addr).AsSlice()...)
}

// Whatever a guest says it is, its neighbour hears only what is true, and the
// attachment counts the rest by reason.
func TestGuard(t *testing.T) {
	r := start(t, config(newDirs(t)))
	off, on := false, true
	bad := r.attach("n", "bad", shim.AttachRequest{})
	victim := r.attach("n", "victim", shim.AttachRequest{})
	free := r.attach("n", "free", shim.AttachRequest{Guard: shim.Guard{MAC: &off, IP: &off, DHCP: &off, RA: &off}})
	if want := (shim.Guard{MAC: &on, IP: &on, DHCP: &on, RA: &on}); !bad.Guard.Equal(want) || bad.Guard.Equal(free.Guard) {
		t.Errorf("guards %+v, %+v", bad.Guard, free.Guard)
	}
	open := func(id string) net.Conn {
		_, f, err := r.Frames(t.Context(), "n", id, "eth0")
		if err != nil {
			t.Fatal(err)
		}
		return conn(t, f)
	}
	badEnd, victimEnd, freeEnd := open("bad"), open("victim"), open("free")
	own := bad.IPs[0].Address.Addr().String()
	gateway := bad.IPs[0].Gateway.String()
	send := func(c net.Conn, f []byte) {
		t.Helper()
		if _, err := c.Write(f); err != nil {
			t.Fatal(err)
		}
	}
	send(badEnd, arpOf(t, bad.MAC, bad.MAC, gateway)) // the gateway is here
	send(badEnd, arpOf(t, victim.MAC, bad.MAC, own))  // under another MAC
	send(badEnd, arpOf(t, bad.MAC, victim.MAC, own))  // my address is there
	send(badEnd, append(arpOf(t, bad.MAC, bad.MAC, own)[:12], 0x81, 0, 0, 1, 8, 6, 0, 1))
	send(badEnd, arpOf(t, bad.MAC, bad.MAC, own))       // true
	send(freeEnd, arpOf(t, free.MAC, bad.MAC, gateway)) // unguarded
	heard := map[string]bool{}
	_ = victimEnd.SetReadDeadline(time.Now().Add(patience))
	for buf := make([]byte, 2000); len(heard) < 2; {
		n, err := victimEnd.Read(buf)
		if err != nil {
			t.Fatalf("the neighbour heard %v only: %v", heard, err)
		}
		if n >= 42 && buf[12] == 8 && buf[13] == 6 && net.HardwareAddr(buf[22:28]).String() == bad.MAC {
			heard[net.HardwareAddr(buf[6:12]).String()+" "+netip.AddrFrom4([4]byte(buf[28:32])).String()] = true
		}
	}
	if !heard[bad.MAC+" "+own] || !heard[free.MAC+" "+gateway] {
		t.Errorf("the neighbour heard %v", heard)
	}
	// A batch is counted when it has been moved.
	want, got := map[string]uint64{"guard-mac": 1, "guard-arp": 2, "guard-vlan": 1}, map[string]uint64{}
	eventually(t, func() bool {
		a, err := r.Attachment(t.Context(), "n", "bad", "eth0")
		if err != nil {
			t.Fatal(err)
		}
		got = a.Counters.FromGuest.Drops
		return maps.Equal(got, want)
	}, func() string { return fmt.Sprintf("drops %v, want %v", got, want) })
	if got := r.do("GET", "/metrics", "").body; !strings.Contains(got, `reason="guard-arp"} 2`) {
		t.Error("metrics do not tell of guard-arp")
	}
}

func TestGuardRequests(t *testing.T) {
	r := start(t, config(newDirs(t)))
	many, _ := json.Marshal(make([]string, shim.MaxGuardPrefixes+1))
	for _, tt := range []struct{ body, want string }{
		{`{"guard":{"mac":1}}`, `"key":"guard.mac","value":"1"`},
		{`{"guard":{"arp":true}}`, `"key":"guard.arp"`},
		{`{"guard":{"deny":["10.0.0.1/8"]}}`, `"key":"guard.deny","value":"10.0.0.1/8"`},
		{`{"guard":{"deny":[null]}}`, `"key":"guard.deny"`},
		{`{"guard":{"allow":["::ffff:1.2.3.4/128"]}}`, `"key":"guard.allow"`},
		{`{"guard":{"allow":` + strings.ReplaceAll(string(many), `""`, `"::/0"`) + `}}`, `at most 64`},
		{`{"guard":{"ip":true},"network":{"ipam":"none"}}`, `"key":"guard.ip"`},
	} {
		if got := r.do("PUT", "/v1/networks/n/attachments/c/eth0", tt.body); got.status != 400 || !strings.Contains(got.body, tt.want) {
			t.Errorf("%s: %d %s, want %s", tt.body, got.status, got.body, tt.want)
		}
	}
	a := r.attach("layer2", "c", shim.AttachRequest{Network: shim.NetworkSpec{IPAM: shim.IPAMNone}})
	if a.Guard.IP == nil || *a.Guard.IP || !*a.Guard.MAC {
		t.Errorf("layer 2: guard %+v, want no ip", a.Guard)
	}
	off := false
	r.attach("n", "c", shim.AttachRequest{})
	if _, err := r.Attach(t.Context(), "n", "c", "eth0", shim.AttachRequest{Guard: shim.Guard{RA: &off}}); shim.CodeOf(err) != shim.CodeConflict {
		t.Errorf("another guard for the same attachment: %v, want conflict", err)
	}
}
