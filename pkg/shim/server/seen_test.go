package server_test

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/relay"
	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// TestSeen has a guest at layer 2 whose address the shim learns from its frames and
// from the file of the system's DHCP server, and a guest that it gives one, of
// which it says nothing.
func TestSeen(t *testing.T) {
	cfg := config(newDirs(t))
	cfg.BootpdLeases = filepath.Join(t.TempDir(), "dhcpd_leases")
	r := start(t, cfg)
	none := shim.AttachRequest{MAC: "02:00:00:00:00:0a", Network: shim.NetworkSpec{IPAM: shim.IPAMNone}}
	a := r.attach("n", "c", none)
	if len(a.Seen) != 0 {
		t.Errorf("seen %+v before there was a frame", a.Seen)
	}
	_, f, err := r.Frames(t.Context(), "n", "c", "eth0")
	if err != nil {
		t.Fatal(err)
	}
	port, err := relay.NewDatagramPort(f, 1514)
	if err != nil {
		t.Fatal(err)
	}
	defer port.Close()
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 0x0a}
	arp := append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, mac...)
	arp = append(arp, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1)
	arp = append(append(arp, mac...), 10, 0, 0, 7, 0, 0, 0, 0, 0, 0, 10, 0, 0, 1)
	for range 3 {
		if _, err := port.WriteBatch([][]byte{arp}); err != nil {
			t.Fatal(err)
		}
	}
	lease := "{\n\tname=web\n\tip_address=192.168.64.3\n\thw_address=1,2:0:0:0:0:a\n\tidentifier=1,2:0:0:0:0:a\n\tlease=0x66f1a2b3\n}\n"
	if err := os.WriteFile(cfg.BootpdLeases, []byte(lease), 0o600); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprint([]string{"arp 10.0.0.7  3", "bootpd 192.168.64.3 web 0"})
	var got string
	for deadline := time.Now().Add(patience); got != want && time.Now().Before(deadline); {
		a, err := r.Attachment(t.Context(), "n", "c", "eth0")
		if err != nil {
			t.Fatal(err)
		}
		var list []string
		for _, x := range a.Seen {
			list = append(list, fmt.Sprintf("%s %s %s %d", x.Via, x.Address, x.Name, x.Count))
		}
		got = fmt.Sprint(list)
	}
	if got != want {
		t.Errorf("seen %s, want %s", got, want)
	}
	given := r.attach("m", "c", shim.AttachRequest{MAC: none.MAC, Network: shim.NetworkSpec{Subnet: netip.MustParsePrefix("192.168.127.0/24")}})
	if len(given.Seen) != 0 {
		t.Errorf("seen %+v of a guest with an address", given.Seen)
	}
}
