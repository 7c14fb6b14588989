package server_test

import (
	"strings"
	"testing"

	"github.com/vmnet-cni/vmnet/pkg/handover"
	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// TestOffloadIsNotMixed has a network refuse an attachment that did not agree to what
// the others did, in either direction, and say why.
func TestOffloadIsNotMixed(t *testing.T) {
	r := start(t, config(newDirs(t)))
	before := r.census()
	attach := func(network, id string, offload bool) (shim.Attachment, error) {
		return r.Attach(t.Context(), network, id, "eth0", shim.AttachRequest{Network: shim.NetworkSpec{Offload: offload}})
	}
	for _, c := range []struct {
		network string
		offload bool
		want    string
	}{
		{"whole", true, "network.offload false: network whole is in use with true"},
		{"plain", false, "network.offload true: network plain is in use with false"},
	} {
		a, err := attach(c.network, "a", c.offload)
		if err != nil || a.Offload != c.offload || (a.MaxFrameSize > 65000) != c.offload {
			t.Errorf("%+v, %v", a, err)
		}
		if _, err := attach(c.network, "b", c.offload); err != nil {
			t.Error(err)
		}
		if _, err := attach(c.network, "c", !c.offload); shim.CodeOf(err) != shim.CodeConflict || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
		if _, err := r.GC(t.Context(), c.network, nil); err != nil {
			t.Error(err)
		}
	}
	r.nothingLeft(before)
}

// TestVnetHeader has the header agreed with a guest, told, and refused where it has no
// meaning.
func TestVnetHeader(t *testing.T) {
	r := start(t, config(newDirs(t)))
	attach := func(id string, offload, header bool, frames string) (shim.Attachment, error) {
		return r.Attach(t.Context(), "n", id, "eth0", shim.AttachRequest{Network: shim.NetworkSpec{Offload: offload}, VnetHeader: header, Frames: frames})
	}
	if _, err := attach("a", false, true, ""); shim.CodeOf(err) != shim.CodeInvalid || !strings.Contains(err.Error(), `vnetHeader "true": want it with network.offload true`) {
		t.Errorf("without offload: %v", err)
	}
	for id, want := range map[string]int{"a": 0, "b": shim.VnetHeaderLen} {
		a, err := attach(id, true, want > 0, "stream")
		if err != nil || a.VnetHeader != want || a.MaxFrameSize < 65000 {
			t.Fatalf("%s: %+v, %v", id, a, err)
		}
		m, f, err := r.Frames(t.Context(), "n", id, "eth0")
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		if !m.Offload || m.VnetHeader != want || m.MaxFrameSize != a.MaxFrameSize {
			t.Errorf("the guest's side was told %+v", m)
		}
	}
	b, err := r.Attachment(t.Context(), "n", "b", "eth0")
	if err != nil {
		t.Fatal(err)
	}
	b.VnetHeader = 0
	guest, host, err := handover.Pair(b.Frames, b.MaxFrameSize, true)
	if err != nil {
		t.Fatal(err)
	}
	defer guest.Close()
	defer host.Close()
	if err := r.Give(t.Context(), b, host); err == nil || !strings.Contains(err.Error(), "vnetHeader 0: the attachment's is 12") {
		t.Errorf("give of a socket without the header: %v", err)
	}
}
