package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/vmnet-cni/vmnet/cmd/vmnet-shim/install"
)

// An item is a file, a link or a directory of an archive.
type item struct {
	path string
	mode fs.FileMode
	data []byte
	link string
}

// A tree is what an archive has, in any order.
type tree []item

// file adds a file of this machine.
func (t *tree) file(to, from string, mode fs.FileMode) error {
	data, err := os.ReadFile(from)
	*t = append(*t, item{path: to, mode: mode, data: data})
	return err
}

// dir adds the files below a directory; change may rename and repack them.
func (t *tree) dir(to, from string, change func(item) item) error {
	return filepath.WalkDir(from, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(from, name)
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o644)
		if fi, err := d.Info(); err == nil && fi.Mode()&0o100 != 0 {
			mode = 0o755
		}
		data, err := os.ReadFile(name)
		it := item{path: path.Join(to, filepath.ToSlash(rel)), mode: mode, data: data}
		if change != nil {
			it = change(it)
		}
		*t = append(*t, it)
		return err
	})
}

// archiveTree is what the archive of a system has, in one directory.
func (r *release) archiveTree(b binaries, base string) (t tree, err error) {
	add := func(e error) {
		if err == nil {
			err = e
		}
	}
	add(t.file(base+"/vmnet-shim", b.shim, 0o755))
	add(t.file(base+"/vmnet", b.plugin, 0o755))
	for _, name := range []string{"LICENSE", "README.md", "CHANGELOG.md", "SECURITY.md"} {
		add(t.file(base+"/"+name, name, 0o644))
	}
	for to, from := range map[string]string{
		"docs": "docs", "examples": "examples", "man": filepath.Join(r.docs, "man"), "completions": filepath.Join(r.docs, "completions"),
		"packaging/systemd": "packaging/systemd", "packaging/launchd": "packaging/launchd", "packaging/sudoers": "packaging/sudoers", "packaging/macos": "packaging/macos",
	} {
		add(t.dir(base+"/"+to, from, nil))
	}
	return t, err
}

// debianTree is what the package for Debian installs.
func (r *release) debianTree(b binaries) (t tree, err error) {
	add := func(e error) {
		if err == nil {
			err = e
		}
	}
	add(t.file("usr/bin/vmnet-shim", b.shim, 0o755))
	for _, name := range install.DropIns() {
		t = append(t, item{path: "usr/bin/" + name, link: "vmnet-shim"})
	}
	add(t.file("usr/lib/cni/vmnet", b.plugin, 0o755))
	t = append(t, item{path: "opt/cni/bin/vmnet", link: "/usr/lib/cni/vmnet"})
	add(t.file("usr/lib/systemd/system/vmnet-shim.socket", "packaging/systemd/vmnet-shim.socket", 0o644))
	add(t.file("usr/lib/systemd/system/vmnet-shim.service", "packaging/systemd/vmnet-shim.service", 0o644))
	const doc = "usr/share/doc/vmnet"
	add(t.file(doc+"/copyright", "LICENSE", 0o644))
	for _, unit := range []string{"vmnet-shim.service.d", "vmnet-shim.socket.d"} {
		add(t.dir(doc+"/examples/"+unit, "packaging/systemd/"+unit, nil))
	}
	add(t.dir(doc+"/examples", "examples", nil))
	add(t.file(doc+"/changelog.gz", "CHANGELOG.md", 0o644))
	t[len(t)-1].data = zip(t[len(t)-1].data)
	add(t.dir("usr/share/man/man1", filepath.Join(r.docs, "man"), func(it item) item {
		it.path, it.data = it.path+".gz", zip(it.data)
		return it
	}))
	completions := filepath.Join(r.docs, "completions")
	add(t.file("usr/share/bash-completion/completions/vmnet-shim", filepath.Join(completions, "vmnet-shim.bash"), 0o644))
	add(t.file("usr/share/zsh/vendor-completions/_vmnet-shim", filepath.Join(completions, "_vmnet-shim"), 0o644))
	add(t.file("usr/share/fish/vendor_completions.d/vmnet-shim.fish", filepath.Join(completions, "vmnet-shim.fish"), 0o644))
	return t, err
}

// targz packs a tree below prefix: sorted, with the directories above each item,
// everything root's and of one time.
func targz(t tree, prefix string, date time.Time) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, it := range t.withDirs() {
		h := &tar.Header{Name: prefix + it.path, Mode: int64(it.mode.Perm()), Size: int64(len(it.data)), ModTime: date, Format: tar.FormatGNU, Uname: "root", Gname: "root"}
		switch {
		case it.link != "":
			h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, it.link, 0o777
		case it.mode.IsDir():
			h.Typeflag, h.Name = tar.TypeDir, prefix+it.path+"/"
		default:
			h.Typeflag = tar.TypeReg
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(it.data); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return zip(b.Bytes()), nil
}

// withDirs returns the items sorted, with their directories before them.
func (t tree) withDirs() tree {
	all := map[string]item{}
	for _, it := range t {
		all[it.path] = it
		for dir := path.Dir(it.path); dir != "." && dir != "/"; dir = path.Dir(dir) {
			all[dir] = item{path: dir, mode: fs.ModeDir | 0o755}
		}
	}
	sorted := make(tree, 0, len(all))
	for _, it := range all {
		sorted = append(sorted, it)
	}
	slices.SortFunc(sorted, func(a, b item) int { return strings.Compare(a.path, b.path) })
	return sorted
}

// zip compresses without name and time.
func zip(data []byte) []byte {
	var b bytes.Buffer
	w, _ := gzip.NewWriterLevel(&b, gzip.BestCompression) // the level is a good one
	_, _ = w.Write(data)                                  // a bytes.Buffer takes all
	_ = w.Close()
	return b.Bytes()
}
