package libvmnet_test

import (
	"debug/elf"
	"slices"
	"strings"
	"testing"

	"github.com/vmnet-cni/vmnet/conformance/libvmnet"
)

// TestExports compares what the library exports with what its headers declare,
// for several releases: nothing missing, nothing of a later release, nothing else.
func TestExports(t *testing.T) {
	all, err := libvmnet.Declarations()
	if err != nil {
		t.Fatal(err)
	}
	for _, release := range []int{101000, 101500, 110000, 120000, 150000, 150400, 260000} {
		lib := libvmnet.Build(t, libvmnet.Config{Release: release})
		got := exports(t, lib.Path)
		var want []string
		for _, d := range all {
			exported := d.Kind == libvmnet.Function || d.Kind == libvmnet.Variable
			// Blocks come from the library that this one depends on; the rest of
			// the system is there in every release.
			if !exported || d.Header == "block.h" || (d.Header == "vmnet/vmnet.h" && d.Release() > release) {
				continue
			}
			want = append(want, d.Name)
		}
		want = append(want, "libvmnet_test_set", "libvmnet_test_get", "libvmnet_test_reset", "libvmnet_test_inject", "libvmnet_test_bridges", "libvmnet_test_version")
		for _, name := range want {
			if !slices.Contains(got, name) {
				t.Errorf("%d: %s: declared, not exported", release, name)
			}
		}
		for _, name := range got {
			if !slices.Contains(want, name) {
				t.Errorf("%d: %s: exported, not declared for this release", release, name)
			}
		}
	}
}

// TestNoControls sees that a library without test controls exports none, and all
// of the rest.
func TestNoControls(t *testing.T) {
	with := exports(t, libvmnet.Build(t, libvmnet.Config{}).Path)
	got := exports(t, libvmnet.Build(t, libvmnet.Config{NoControls: true}).Path)
	var want []string
	for _, name := range with {
		if !strings.HasPrefix(name, "libvmnet_") {
			want = append(want, name)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("exports %q, want %q", got, want)
	}
}

// exports lists the symbols that a shared library defines.
func exports(t *testing.T, path string) []string {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	symbols, err := f.DynamicSymbols()
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	var names []string
	for _, s := range symbols {
		kind := elf.ST_TYPE(s.Info) // the linker's own marks have none
		if s.Section != elf.SHN_UNDEF && (kind == elf.STT_FUNC || kind == elf.STT_OBJECT) {
			names = append(names, s.Name)
		}
	}
	return names
}

// TestDeclarations looks at the forms of declarations that others rely on.
func TestDeclarations(t *testing.T) {
	all, err := libvmnet.Declarations()
	if err != nil {
		t.Fatal(err)
	}
	byName := make(map[string]libvmnet.Declaration)
	for _, d := range all {
		if _, twice := byName[d.Name]; twice {
			t.Errorf("%s: declared twice", d.Name)
		}
		byName[d.Name] = d
		if d.Kind == libvmnet.Variable && strings.HasSuffix(d.Name, "_key") && (d.XPCType == "" || d.Where == "") {
			t.Errorf("%s: a key without type or place", d.Name)
		}
	}
	const header = "vmnet/vmnet.h"
	for _, want := range []libvmnet.Declaration{
		{Name: "VMNET_SUCCESS", Header: header, Kind: libvmnet.Constant, Value: "1000", Since: "10.10"},
		{Name: "vmnet_mtu_key", Header: header, Kind: libvmnet.Variable, Since: "10.10", XPCType: "uint64", Where: "desc,param"},
		{Name: "vmnet_read", Header: header, Kind: libvmnet.Function, Since: "10.10"},
		{Name: "vmnet_network_ref", Header: header, Kind: libvmnet.Type, Since: "26.0"},
		{Name: "vmnet_interface_event_callback_t", Header: header, Kind: libvmnet.Type, Since: "10.10"},
		{Name: "vmnet_port_forwarding_rule_get_details", Header: header, Kind: libvmnet.Function, Since: "10.15", Deprecated: "12.0"},
		{Name: "_NSConcreteStackBlock", Header: "block.h", Kind: libvmnet.Variable, Since: "10.10"},
		{Name: "DISPATCH_TIME_FOREVER", Header: "dispatch.h", Kind: libvmnet.Constant, Value: "~0ull", Since: "10.10"},
		{Name: "xpc_dictionary_apply", Header: "xpc.h", Kind: libvmnet.Function, Since: "10.10"},
	} {
		if got := byName[want.Name]; got != want {
			t.Errorf("%s: got %+v, want %+v", want.Name, got, want)
		}
	}
}
