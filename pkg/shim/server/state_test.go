package server_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

func TestDamagedState(t *testing.T) {
	damages := []struct {
		name  string
		write func([]byte) []byte
	}{
		{"empty", func([]byte) []byte { return nil }},
		{"cut", func(b []byte) []byte { return b[:len(b)/2] }},
		{"zeros", func(b []byte) []byte { return make([]byte, len(b)) }},
		{"later version", func(b []byte) []byte { return bytes.Replace(b, []byte(`"version": 1`), []byte(`"version": 2`), 1) }},
		{"path as a name", func(b []byte) []byte { return bytes.Replace(b, []byte(`"c1"`), []byte(`"../../c1"`), 1) }},
	}
	for _, tt := range damages {
		t.Run(tt.name, func(t *testing.T) {
			cfg := config(newDirs(t))
			r := start(t, cfg)
			lost := r.attach("n", "c1", shim.AttachRequest{MAC: "02:00:00:00:00:77"})
			kept := r.attach("m", "c2", shim.AttachRequest{})
			layer2 := r.attach("l2", "c4", shim.AttachRequest{Network: shim.NetworkSpec{IPAM: shim.IPAMNone}})
			r.stop()
			damage(t, cfg.Dirs, layer2, func([]byte) []byte { return nil })
			file := cfg.Dirs.AttachmentFile("n", "c1", "eth0")
			damage(t, cfg.Dirs, lost, tt.write)
			r = start(t, cfg)
			atts, err := r.Attachments(t.Context())
			if err != nil || len(atts) != 2 || atts[0].MAC != kept.MAC || atts[0].IPs[0] != kept.IPs[0] {
				t.Errorf("attachments %v, %v, want the one with a lease, and the other unharmed", atts, err)
			}
			again, err := r.Attachment(t.Context(), "n", "c1", "eth0")
			if err != nil || again.MAC != lost.MAC || again.IPs[0] != lost.IPs[0] || again.Owner != lost.Owner || again.Problem != "" {
				t.Errorf("made again: %+v, %v, want %+v", again, err, lost)
			}
			s, err := r.Status(t.Context())
			all := strings.Join(s.Problems, "\n")
			if err != nil || len(s.Problems) != 2 || strings.Count(all, "was damaged") != 2 || !strings.Contains(all, "n/c1/eth0 was made again") || !strings.Contains(all, "it has no lease") {
				t.Errorf("problems %q, %v, want one about each file", s.Problems, err)
			}
			if _, err := os.Stat(file + ".damaged"); err != nil {
				t.Error(err)
			}
			if a := r.attach("n", "c3", shim.AttachRequest{}); a.IPs[0] == lost.IPs[0] {
				t.Error("the address of the damaged attachment was given away")
			}
			r.stop()
			r = start(t, cfg) // and it stays
			if _, err := r.Attachment(t.Context(), "n", "c1", "eth0"); err != nil {
				t.Error(err)
			}
			if err := r.Detach(t.Context(), "n", "c1", "eth0"); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(file + ".damaged"); err == nil {
				t.Error("the damaged file outlived the attachment")
			}
		})
	}
}

// damage changes the state file of an attachment.
func damage(t *testing.T, d shim.Dirs, a shim.Attachment, how func([]byte) []byte) {
	t.Helper()
	file := d.AttachmentFile(a.Network, a.ContainerID, a.IfName)
	data, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(file, how(data), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestDamagedNetworkFile(t *testing.T) {
	cfg := config(newDirs(t))
	r := start(t, cfg)
	a := r.attach("n", "c1", shim.AttachRequest{})
	r.stop()
	if err := os.WriteFile(filepath.Join(cfg.Dirs.State, "networks", shim.Hash("n")+".json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	r = start(t, cfg)
	b, err := r.Attachment(t.Context(), "n", "c1", "eth0")
	if err != nil || b.IPs[0] != a.IPs[0] || b.Problem != "" {
		t.Errorf("%+v, %v, want %v as before: the attachment knows its subnet too", b, err, a.IPs)
	}
}

func TestLostLeaseFile(t *testing.T) {
	cfg := config(newDirs(t))
	r := start(t, cfg)
	r.attach("n", "c1", shim.AttachRequest{})
	b := r.attach("n", "c2", shim.AttachRequest{})
	if err := r.Detach(t.Context(), "n", "c1", "eth0"); err != nil {
		t.Fatal(err)
	}
	subnet := b.IPs[0].Address.Masked()
	ranged := shim.AttachRequest{Network: shim.NetworkSpec{Subnet: subnet}, Ranges: []shim.Range{{First: vmnet.FirstAddr(subnet), Last: b.IPs[0].Address.Addr().Next().Next()}}}
	r.attach("n", "ranged", ranged)
	before, err := r.Network(t.Context(), "n")
	if err != nil {
		t.Fatal(err)
	}
	r.stop()
	if err := os.Remove(filepath.Join(cfg.Dirs.State, "leases.db")); err != nil {
		t.Fatal(err)
	}
	r = start(t, cfg)
	got, err := r.Attachment(t.Context(), "n", "c2", "eth0")
	if err != nil || got.IPs[0] != b.IPs[0] {
		t.Fatalf("%+v, %v, want address %v", got, err, b.IPs)
	}
	if after, err := r.Network(t.Context(), "n"); err != nil || after.Leases != before.Leases || after.Free != before.Free {
		t.Errorf("%d leases, %d free, %v, want %d and %d", after.Leases, after.Free, err, before.Leases, before.Free)
	}
	for _, id := range []string{"c3", "c4", "c5"} {
		if a := r.attach("n", id, shim.AttachRequest{}); a.IPs[0] == b.IPs[0] {
			t.Errorf("%s got %v, which c2 has", id, a.IPs)
		}
	}
}

func TestStaleFilesGo(t *testing.T) {
	cfg := config(newDirs(t))
	r := start(t, cfg)
	r.attach("n", "c1", shim.AttachRequest{})
	r.stop()
	tmp := filepath.Join(cfg.Dirs.State, "attachments", "x.json.tmp")
	if err := os.WriteFile(tmp, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, cfg)
	if _, err := os.Stat(tmp); err == nil {
		t.Error("a half-written file was left")
	}
}

func TestTwoShimsOneState(t *testing.T) {
	cfg := config(newDirs(t))
	start(t, cfg)
	if _, err := shim.Listen(t.Context(), cfg.Dirs.ShimSocket()); err == nil {
		t.Error("a second shim could listen")
	}
}
