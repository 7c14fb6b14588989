package bootpd_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmnet-cni/vmnet/internal/bootpd"
)

// leases is a file as bootpd writes it: a client that sent a name, one without,
// one with a DUID, and blocks that are none.
const leases = `{
	name=web
	ip_address=192.168.64.3
	hw_address=1,52:54:0:1:2:a
	identifier=1,52:54:0:1:2:a
	lease=0x66f1a2b3
}
{
	ip_address=192.168.64.2
	hw_address=ff,f1:f5:dd:7f:0:2:0:0:ab:11:cb:fb:30:b0:97:b6:6f:6a
	identifier=ff,f1:f5:dd:7f:0:2:0:0:ab:11:cb:fb:30:b0:97:b6:6f:6a
	lease=0x1
}
{
	ip_address=nowhere
	hw_address=1,1:2:3:4:5:6
}
{
	ip_address=192.168.64.9
	hw_address=1,zz
	identifier=x
	lease=never
	news=of another release
`

func TestParse(t *testing.T) {
	list, err := bootpd.Parse(strings.NewReader(leases))
	if err != nil || len(list) != 2 {
		t.Fatalf("%+v, %v", list, err)
	}
	mac := net.HardwareAddr{0x52, 0x54, 0, 1, 2, 0x0a}
	duid := []byte{255, 0xf1, 0xf5, 0xdd, 0x7f, 0, 2, 0, 0, 0xab, 0x11, 0xcb, 0xfb, 0x30, 0xb0, 0x97, 0xb6, 0x6f, 0x6a}
	a, b := list[0], list[1]
	if a.Name != "web" || a.Addr.String() != "192.168.64.3" || a.MAC().String() != mac.String() || a.Expires.Unix() != 0x66f1a2b3 {
		t.Errorf("%+v", a)
	}
	if b.Name != "" || b.Addr.String() != "192.168.64.2" || b.MAC() != nil || b.Expires.Unix() != 1 {
		t.Errorf("%+v", b)
	}
	if !a.Is(mac, nil) || a.Is(nil, duid) || b.Is(mac, nil) || !b.Is(mac, duid) || b.Is(nil, nil) || a.Is(nil, nil) {
		t.Error("leases of the wrong client")
	}
}

func TestReadFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "leases")
	if list, err := bootpd.ReadFile(path); list != nil || err != nil {
		t.Errorf("no file: %v, %v", list, err)
	}
	if err := os.WriteFile(path, []byte(leases), 0o600); err != nil {
		t.Fatal(err)
	}
	if list, err := bootpd.ReadFile(path); len(list) != 2 || err != nil {
		t.Errorf("%v, %v", list, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(leases)
	f.Add("{\nip_address=::1\nhw_address=1,\n}\n}")
	f.Add("{{\n" + strings.Repeat("x", 70000))
	f.Fuzz(func(t *testing.T, text string) {
		list, _ := bootpd.Parse(strings.NewReader(text))
		for _, l := range list {
			if !l.Addr.IsValid() || len(l.Hardware) > 130 || len(l.Identifier) > 130 || l.MAC() != nil && len(l.MAC()) != 6 {
				t.Errorf("%+v", l)
			}
		}
	})
}
