package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/internal/require"
)

var date = time.Unix(1e9, 0).UTC()

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestTargz(t *testing.T) {
	items := tree{{path: "b/c", mode: 0o755, data: []byte("x")}, {path: "a", link: "b/c"}}
	got, err := targz(items, "./", date)
	must(t, err)
	slices.Reverse(items)
	again, err := targz(items, "./", date)
	must(t, err)
	if !bytes.Equal(got, again) {
		t.Error("the order of the items matters")
	}
	z, err := gzip.NewReader(bytes.NewReader(got))
	must(t, err)
	var names []string
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		names = append(names, h.Name)
		if !h.ModTime.Equal(date) || h.Uid != 0 || h.Uname != "root" {
			t.Errorf("%s: %v %d %s", h.Name, h.ModTime, h.Uid, h.Uname)
		}
	}
	if want := []string{"./a", "./b/", "./b/c"}; !slices.Equal(names, want) {
		t.Errorf("%q, want %q", names, want)
	}
}

func TestDebianVersion(t *testing.T) {
	for in, want := range map[string]string{
		"v1.2.3": "1.2.3", "v1.2.3-rc1": "1.2.3~rc1", "v1.2.3-4-gabc-dirty": "1.2.3~4.gabc.dirty", "abc123": "0~abc123", "devel": "0~devel", "a b_c": "0~a.b.c",
	} {
		if got := debianVersion(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

// TestDebian has Debian's own program read the package. The test binary stands for
// the programs.
func TestDebian(t *testing.T) {
	dpkg := require.Tool(t, "dpkg-deb")
	t.Chdir("../..")
	r, b := testRelease(t)
	must(t, r.debian(target{"linux", "amd64"}, b))
	name := filepath.Join(r.out, "vmnet_1.2.3_amd64.deb")
	out, err := exec.CommandContext(t.Context(), dpkg, "-I", name).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "Package: vmnet\n Version: 1.2.3\n Architecture: amd64\n") {
		t.Errorf("%v: %s", err, out)
	}
	dir := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), dpkg, "-x", name, dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, want := range []string{"usr/bin/vmnet-shim", "usr/bin/socket_vmnet", "usr/lib/cni/vmnet", "usr/lib/systemd/system/vmnet-shim.socket", "usr/share/man/man1/x.1.gz"} {
		if _, err := os.Lstat(filepath.Join(dir, want)); err != nil {
			t.Error(err)
		}
	}
}

// testRelease returns a release of the test binary and of documents that are stubs.
func testRelease(t *testing.T) (*release, binaries) {
	t.Helper()
	dir := t.TempDir()
	r := &release{version: "v1.2.3", date: date, out: dir, docs: filepath.Join(dir, "docs"), sums: map[string]string{}}
	for _, name := range []string{"man/x.1", "completions/vmnet-shim.bash", "completions/_vmnet-shim", "completions/vmnet-shim.fish"} {
		must(t, os.MkdirAll(filepath.Join(r.docs, filepath.Dir(name)), 0o755))
		must(t, os.WriteFile(filepath.Join(r.docs, name), nil, 0o644))
	}
	self, err := os.Executable()
	must(t, err)
	return r, binaries{self, self}
}

// TestSBOM lists what the binary says of itself, each thing once.
func TestSBOM(t *testing.T) {
	r, b := testRelease(t)
	data, err := r.sbom("a.tar.gz", b)
	must(t, err)
	var doc spdx
	must(t, json.Unmarshal(data, &doc))
	info, err := buildinfo.ReadFile(b.shim)
	must(t, err)
	if got, want := len(doc.Packages), len(info.Deps)+2; got != want {
		t.Errorf("%d packages, want %d", got, want)
	}
	ids := map[string]bool{}
	for _, p := range doc.Packages {
		if ids[p.ID] {
			t.Errorf("%s is there twice", p.ID)
		}
		ids[p.ID] = true
	}
	for _, rel := range doc.Relationships {
		if !ids[rel.Related] {
			t.Errorf("%s depends on %s, which is not there", rel.Element, rel.Related)
		}
	}
}

// TestFormula fills in every placeholder.
func TestFormula(t *testing.T) {
	t.Chdir("../..")
	r, _ := testRelease(t)
	must(t, r.formula())
	if _, err := os.Stat(filepath.Join(r.out, "vmnet.rb")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a formula without archives")
	}
	for _, arch := range []string{"arm64", "amd64"} {
		r.sums["vmnet_1.2.3_darwin_"+arch+".tar.gz"] = "sum-" + arch
	}
	must(t, r.formula())
	data, err := os.ReadFile(filepath.Join(r.out, "vmnet.rb"))
	must(t, err)
	if strings.Contains(string(data), "@") || !strings.Contains(string(data), `sha256 "sum-arm64"`) {
		t.Errorf("%s", data)
	}
}
