package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"debug/buildinfo"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// pack writes an archive with this test binary under each of the names.
func pack(t *testing.T, names ...string) string {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	data, err := os.ReadFile(self)
	must(t, err)
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.NoCompression)
	must(t, err)
	w := tar.NewWriter(z)
	for _, name := range names {
		must(t, w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(data)), Typeflag: tar.TypeReg}))
		_, err := w.Write(data)
		must(t, err)
	}
	must(t, w.Close())
	must(t, z.Close())
	path := filepath.Join(t.TempDir(), "a.tar.gz")
	must(t, os.WriteFile(path, b.Bytes(), 0o600))
	return path
}

// TestSBOM lists what the programs say of themselves, each thing once, and the same
// bytes again.
func TestSBOM(t *testing.T) {
	archive := pack(t, "a/LICENSE", "a/vmnet-shim", "a/vmnet")
	var docs [2][]byte
	for i := range docs {
		out := filepath.Join(t.TempDir(), "a.spdx.json")
		must(t, run([]string{"-version", "v1.2.3", "-epoch", "1000000000", "-o", out, archive}))
		var err error
		docs[i], err = os.ReadFile(out)
		must(t, err)
	}
	if !bytes.Equal(docs[0], docs[1]) {
		t.Error("two runs differ")
	}
	var doc spdx
	must(t, json.Unmarshal(docs[0], &doc))
	self, err := os.Executable()
	must(t, err)
	info, err := buildinfo.ReadFile(self)
	must(t, err)
	if got, want := len(doc.Packages), len(info.Deps)+2; got != want {
		t.Errorf("%d packages, want %d", got, want)
	}
	if doc.CreationInfo["created"] != "2001-09-09T01:46:40Z" || doc.Packages[0].VersionInfo != "v1.2.3" {
		t.Errorf("%v, %+v", doc.CreationInfo, doc.Packages[0])
	}
	var ids []string
	for _, p := range doc.Packages {
		if slices.Contains(ids, p.ID) {
			t.Errorf("%s is there twice", p.ID)
		}
		ids = append(ids, p.ID)
	}
	for _, rel := range doc.Relationships {
		if !slices.Contains(ids, rel.Related) {
			t.Errorf("%s depends on %s, which is not there", rel.Element, rel.Related)
		}
	}
}

// TestRefused has a program missing, and no archive at all.
func TestRefused(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	for name, args := range map[string][]string{
		"usage":   {},
		"1 of":    {"-o", out, pack(t, "a/vmnet", "a/README.md")},
		"invalid": {"-o", out, "sbom_test.go"},
	} {
		if err := run(args); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%q: %v, want %q", args, err, name)
		}
		if _, err := os.Stat(out); err == nil {
			t.Errorf("%q: wrote a document", args)
		}
	}
}
