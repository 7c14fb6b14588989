package server_test

import (
	"strings"
	"testing"

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
