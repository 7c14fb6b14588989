package framework_test

import (
	"testing"

	"github.com/vmnet-cni/vmnet/conformance/libvmnet"
)

// TestHeaders compares the facts with the headers of conformance/libvmnet, which
// were written from them independently: name by name, since when, and what the
// driver knows of each.
func TestHeaders(t *testing.T) {
	declared, err := libvmnet.Declarations()
	if err != nil {
		t.Fatal(err)
	}
	used, unused := facts(t)
	seen := make(map[string]bool)
	for _, d := range declared {
		if d.Kind != libvmnet.Function && d.Kind != libvmnet.Variable {
			continue
		}
		seen[d.Name] = true
		f, ok := used[d.Name]
		switch {
		case ok && f.Since != d.Since:
			t.Errorf("%s: %s has it since %s, the facts since %s", d.Name, d.Header, d.Since, f.Since)
		case ok && f.Key != (d.XPCType != ""):
			t.Errorf("%s: %s says type %q, the facts say key %t", d.Name, d.Header, d.XPCType, f.Key)
		case ok, unused[d.Name], d.Extra:
		default:
			t.Errorf("%s in %s is not among the facts", d.Name, d.Header)
		}
	}
	for name := range used {
		if !seen[name] {
			t.Errorf("%s is in no header", name)
		}
	}
}
