package install

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vmnet-cni/vmnet/packaging"
)

// A file is what shall be at a path: data, or a link.
type file struct {
	path string
	mode fs.FileMode
	data []byte
	link string
}

// files returns what is to be installed.
func (in *installer) files(ctx context.Context) ([]file, error) {
	shim, err := in.program(ctx, in.ShimFile, in.OS == "darwin")
	if err != nil {
		return nil, err
	}
	plugin, err := in.program(ctx, in.PluginFile, false)
	if err != nil {
		return nil, err
	}
	all := []file{
		{path: filepath.Join(in.bin(), Shim), mode: 0o755, data: shim},
		{path: filepath.Join(in.CNIBin, Plugin), mode: 0o755, data: plugin},
	}
	if in.Links {
		for _, name := range DropIns() {
			all = append(all, file{path: filepath.Join(in.bin(), name), link: Shim})
		}
	}
	service, err := in.service()
	return append(all, service...), err
}

// program reads a program, signed if it shall be.
func (in *installer) program(ctx context.Context, name string, entitle bool) ([]byte, error) {
	data, err := os.ReadFile(name)
	if err != nil || !entitle || in.Entitle == nil {
		return data, err
	}
	dir, err := os.MkdirTemp("", "vmnet-install")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	// The name becomes part of the signature: always the same, for equal bytes.
	tmp := filepath.Join(dir, Shim)
	if err := os.WriteFile(tmp, data, 0o755); err != nil {
		return nil, err
	}
	entitlements, err := packaging.Files.ReadFile("macos/entitlements.plist")
	if err == nil {
		err = in.Entitle(ctx, tmp, entitlements)
	}
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", name, err)
	}
	return os.ReadFile(tmp)
}

// service returns the files of the service manager.
func (in *installer) service() ([]file, error) {
	if in.NoService {
		return nil, nil
	}
	if in.OS == "darwin" {
		return in.launchd()
	}
	from := []string{"systemd/vmnet-shim.socket", "systemd/vmnet-shim.service"}
	if in.Tap {
		from = append(from, "systemd/vmnet-shim.service.d/tap.conf")
	}
	if in.Group != "" {
		from = append(from, "systemd/vmnet-shim.service.d/group.conf", "systemd/vmnet-shim.socket.d/group.conf")
	}
	var all []file
	for _, name := range from {
		data, err := packaging.Files.ReadFile(name)
		if err != nil {
			return nil, err
		}
		text := strings.ReplaceAll(string(data), "/usr/bin/"+Shim, filepath.Join(in.bin(), Shim))
		if path.Base(name) == "group.conf" {
			text = strings.ReplaceAll(text, "--group vmnet", "--group "+in.Group)
			text = strings.ReplaceAll(text, "SocketGroup=vmnet", "SocketGroup="+in.Group)
			text = strings.ReplaceAll(text, "group vmnet", "group "+in.Group)
		}
		all = append(all, file{path: filepath.Join("/etc/systemd/system", strings.TrimPrefix(name, "systemd/")), mode: 0o644, data: []byte(text)})
	}
	return all, nil
}

// agent reports whether the system's users have a shim each.
func (in *installer) agent() bool { return in.MacOS >= 16 } // 26 follows 15

func (in *installer) plist() string {
	dir := "/Library/LaunchDaemons"
	if in.agent() {
		dir = "/Library/LaunchAgents"
	}
	return filepath.Join(dir, Label+".plist")
}

func (in *installer) launchd() ([]file, error) {
	name := "daemon"
	if in.agent() {
		name = "agent"
	}
	data, err := packaging.Files.ReadFile("launchd/" + name + ".plist")
	if err != nil {
		return nil, err
	}
	text := strings.ReplaceAll(string(data), "/opt/vmnet/bin/"+Shim, filepath.Join(in.bin(), Shim))
	text = strings.ReplaceAll(text, "<string>staff</string>", "<string>"+in.Group+"</string>")
	all := []file{{path: in.plist(), mode: 0o644, data: []byte(text)}}
	if in.agent() {
		return all, nil
	}
	sample, err := packaging.Files.ReadFile("sudoers/vmnet-shim")
	return append(all, file{path: filepath.Join(in.share(), "sudoers.sample"), mode: 0o444, data: sample}), err
}

// A state is what is at a file's path.
type state int

const (
	missing state = iota
	same
	ours    // as an installation left it, and not what is wanted now
	foreign // somebody else's
)

// look compares a file with what is there.
func (in *installer) look(f file) (state, error) {
	at := in.at(f.path)
	fi, err := os.Lstat(at)
	if errors.Is(err, fs.ErrNotExist) {
		return missing, nil
	}
	if err != nil {
		return 0, err
	}
	e, err := describe(f.path, at, fi)
	if err != nil {
		return 0, err
	}
	if e == f.entry() && (f.link != "" || fi.Mode().Perm() == f.mode) {
		return same, nil
	}
	if i := in.rec.index(f.path); i >= 0 && in.rec.Files[i] == e || e == f.entry() {
		return ours, nil
	}
	return foreign, nil
}

func (f file) entry() entry {
	if f.link != "" {
		return entry{f.path, kindLink, f.link}
	}
	return entry{f.path, kindFile, sum(f.data)}
}

// describe returns the entry that what lies at path would have.
func describe(path, at string, fi fs.FileInfo) (entry, error) {
	switch {
	case fi.Mode()&fs.ModeSymlink != 0:
		to, err := os.Readlink(at)
		return entry{path, kindLink, to}, err
	case fi.IsDir():
		return entry{Path: path, Kind: kindDir}, nil
	}
	data, err := os.ReadFile(at)
	return entry{path, kindFile, sum(data)}, err
}

// conflict refuses to overwrite what is somebody else's, before anything is done.
func (in *installer) conflict(f file) error {
	s, err := in.look(f)
	if err != nil {
		return err
	}
	if s == foreign && !in.Force {
		return fmt.Errorf("%s: is there already, and not by an installation of this program: remove it, or use --force", in.at(f.path))
	}
	return nil
}

// put puts one file into place.
func (in *installer) put(f file) error {
	s, err := in.look(f)
	if err != nil {
		return err
	}
	at := in.at(f.path)
	if s == same { // recorded already, or somebody else's
		return nil
	}
	in.changed = true
	in.jobChanged = in.jobChanged || f.path == in.plist()
	if f.link != "" {
		in.say("link %s to %s", at, f.link)
	} else {
		in.say("write %s (%04o, %s)", at, f.mode, size(len(f.data)))
	}
	if in.DryRun {
		return nil
	}
	if err := in.makeDirs(f.path); err != nil {
		return err
	}
	in.rec.add(f.entry())
	if err := in.save(); err != nil { // first: what is half done is known
		return err
	}
	if f.link == "" {
		return replace(at, f.data, f.mode)
	}
	if err := os.Remove(at); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Symlink(f.link, at)
}

func size(n int) string {
	if n < 1<<20 {
		return fmt.Sprintf("%d bytes", n)
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1e6)
}

// dropOld removes what an earlier installation made and this one does not want.
func (in *installer) dropOld(files []file) error {
	for _, e := range slices.Clone(in.rec.Files) {
		wanted := slices.ContainsFunc(files, func(f file) bool { return f.path == e.Path })
		if e.Kind == kindDir || wanted {
			continue
		}
		if err := in.remove(e); err != nil {
			return err
		}
		if err := in.save(); err != nil {
			return err
		}
	}
	return nil
}

// remove takes away one thing that an installation made, and leaves it when it was
// changed since.
func (in *installer) remove(e entry) error {
	at := in.at(e.Path)
	if e.Kind == kindDir {
		return nil // with the record, when all else has gone
	}
	fi, err := os.Lstat(at)
	if errors.Is(err, fs.ErrNotExist) {
		in.rec.drop(e.Path)
		return nil
	}
	if err != nil {
		return err
	}
	now, err := describe(e.Path, at, fi)
	if err != nil {
		return err
	}
	if now != e && !in.Force {
		return fmt.Errorf("%s: was changed since it was installed: remove it yourself, or use --force", at)
	}
	in.changed = true
	in.say("remove %s", at)
	if in.DryRun {
		return nil
	}
	in.rec.drop(e.Path)
	return os.Remove(at)
}
