package e2e_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/conformance/e2e"
	"github.com/vmnet-cni/vmnet/conformance/guest"
	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// TestHelperLeases has vmnet-helper on driver vmnet, as minikube starts it: the guest
// gets its address from the system's DHCP server, whose file minikube then reads. The
// library's server writes no file, so the test does, as bootpd would.
func TestHelperLeases(t *testing.T) {
	for _, release := range []int{150000, 260000} {
		t.Run(releaseName(release), func(t *testing.T) {
			w := framework(t, release)
			leases := filepath.Join(t.TempDir(), "dhcpd_leases")
			w.env = append(w.env, "VMNET_BOOTPD_LEASES="+leases)
			m := w.machine(t, nil)
			helperLeases(t, m, leases)
		})
	}
}

func helperLeases(t *testing.T, m *e2e.Machine, leases string) {
	subnet := netip.MustParsePrefix(macSubnet)
	end := subnet.Addr().Next().Next().Next()
	socket := filepath.Join(t.TempDir(), "h.sock")
	d := startDaemon(t, m, dropin(t, "vmnet-helper"), "--socket", socket, "--interface-id", "2835E074-9892-4A79-AFFB-7E41D2605678",
		"--start-address", subnet.Addr().Next().String(), "--end-address", end.String(), "--subnet-mask", "255.255.255.0")
	var list []shim.Attachment
	wait(t, "an attachment", func() bool {
		var err error
		list, err = m.Client.Attachments(soon(t))
		return err == nil && len(list) == 1
	})
	port, remove, err := guest.DialPort(socket, "dgram", 1514)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(remove)
	a := list[0]
	if len(a.IPs) != 0 || !strings.HasPrefix(a.Network, "vmnet-shared-bootpd-") {
		t.Errorf("attachment %+v", a)
	}
	mac, err := net.ParseMAC(a.MAC)
	if err != nil {
		t.Fatal(err)
	}
	g, err := guest.New(port, guest.Config{MAC: mac, MTU: 1500})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	l, err := g.DHCP(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	mustPing(t, g, l.Router)
	other := "{\n\tname=other\n\tip_address=192.168.64.9\n\thw_address=1,2:0:0:0:0:9\n\tidentifier=1,2:0:0:0:0:9\n\tlease=0x6000\n}\n"
	hw := "1," + bare(mac)
	text := fmt.Sprintf("{\n\tip_address=%s\n\thw_address=%s\n\tidentifier=%s\n\tlease=%#x\n}\n", l.Address.Addr(), hw, hw, time.Now().Add(time.Hour).Unix())
	if err := os.WriteFile(leases, []byte(text+other), 0o644); err != nil {
		t.Fatal(err)
	}
	if found, err := minikubeFinds(leases, a.MAC); err != nil || found != l.Address.Addr().String() {
		t.Errorf("minikube finds %q, %v; the guest has %s", found, err, l.Address)
	}
	now, err := m.Client.Attachment(soon(t), a.Network, a.ContainerID, a.IfName)
	if err != nil || !slices.ContainsFunc(now.Seen, func(s shim.SeenAddress) bool { return s.Via == shim.SeenBootpd && s.Address == l.Address.Addr() }) {
		t.Errorf("seen %+v, %v", now.Seen, err)
	}
	g.Close()
	d.end(t, syscall.SIGTERM)
	var line struct {
		MAC   string     `json:"vmnet_mac_address"`
		Start netip.Addr `json:"vmnet_start_address"`
		End   netip.Addr `json:"vmnet_end_address"`
	}
	if err := json.Unmarshal(d.out.Bytes(), &line); err != nil || line.MAC != a.MAC || line.Start != l.Router || line.End != end ||
		!line.Start.Less(l.Address.Addr()) || line.End.Less(l.Address.Addr()) {
		t.Errorf("line %s, %v; lease %+v", d.out.String(), err, l)
	}
	if n := attachments(t, m); n != 0 {
		t.Errorf("%d attachments are left", n)
	}
}

// bare is a MAC as bootpd writes it: bytes without leading zeros.
func bare(mac net.HardwareAddr) string {
	var parts []string
	for _, b := range mac {
		parts = append(parts, fmt.Sprintf("%x", b))
	}
	return strings.Join(parts, ":")
}

// minikubeFinds looks for the address of a MAC as minikube does (its
// pkg/drivers/common/dhcp): the first block with the bytes of the MAC, and no line
// that it does not know.
func minikubeFinds(path, mac string) (string, error) {
	want, err := net.ParseMAC(mac)
	if err != nil {
		return "", err
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	var addr, hw string
	for s := bufio.NewScanner(f); s.Scan(); {
		line := strings.TrimSpace(s.Text())
		key, value, ok := strings.Cut(line, "=")
		switch {
		case line == "{":
			addr, hw = "", ""
		case line == "}":
			if hw == "1,"+bare(want) {
				return addr, nil
			}
		case !ok || !slices.Contains([]string{"name", "ip_address", "hw_address", "identifier", "lease"}, key):
			return "", fmt.Errorf("line %q", line)
		case key == "ip_address":
			addr = value
		case key == "hw_address":
			hw = value
		}
	}
	return "", fmt.Errorf("no address for %s", mac)
}
