package doctor

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const cniBin = "/opt/cni/bin"

func programs(ctx context.Context, p *patient) ([]Finding, error) {
	var f findings
	plugin := p.find(p.CNIPath, "vmnet")
	switch {
	case plugin != "":
		p.plugin(ctx, &f, plugin)
	case len(p.configs) > 0:
		f.wrong("the CNI plugin vmnet is in none of "+strings.Join(p.CNIPath, ", "),
			p.configs[0].path+" names it: every ADD fails", "sudo vmnet-shim install")
	default:
		f.note("the CNI plugin vmnet is in none of "+strings.Join(p.CNIPath, ", "),
			"runtimes look for it there; the drop-ins work without it", "sudo vmnet-shim install")
	}
	if p.UID == 0 {
		for _, path := range []string{p.Program, plugin} {
			if path != "" {
				p.replaceable(&f, path)
			}
		}
	}
	return f, nil
}

// plugin looks at the plugin at path.
func (p *patient) plugin(ctx context.Context, f *findings, path string) {
	fi, err := os.Stat(p.at(path))
	if err == nil && fi.Mode().Perm()&0o111 == 0 {
		f.wrong(fmt.Sprintf("%s has mode %04o", path, fi.Mode().Perm()), "runtimes cannot execute it", "sudo chmod 755 "+path)
		return
	}
	if out, err := p.Run(ctx, p.at(path), "version"); err == nil {
		if version := strings.TrimPrefix(strings.TrimSpace(out), "vmnet "); version != p.Version {
			f.wrong(fmt.Sprintf("%s is version %s, and this program %s", path, version, p.Version),
				"plugin and shim of different versions may not understand each other", "sudo vmnet-shim install --force")
		}
	}
	for _, c := range p.configs {
		if o, _ := c.ours(); o.Shim.Binary != "" {
			if _, err := os.Stat(p.at(o.Shim.Binary)); err != nil {
				f.wrong(fmt.Sprintf("%s: shim.binary %s is not there", c.path, o.Shim.Binary), "the plugin cannot start the shim", "sudo vmnet-shim install, and take shim.binary out")
			}
		}
	}
	// As pkg/shim.Ensure looks for it.
	if p.find(append([]string{filepath.Dir(path)}, append(p.CNIPath, p.Path...)...), "vmnet-shim") == "" {
		f.wrong("vmnet-shim is neither beside the plugin nor in CNI_PATH or PATH", "the plugin cannot start it", "sudo vmnet-shim install")
	}
}

// replaceable tells of programs that root runs and others can replace: Homebrew's
// directories belong to a user.
func (p *patient) replaceable(f *findings, path string) {
	for at := path; ; at = filepath.Dir(at) {
		fi, err := os.Stat(p.at(at))
		if err != nil {
			return
		}
		if owner, can := others(fi); can {
			f.wrong(fmt.Sprintf("%s can be replaced by others than root: %s has owner %d and mode %04o", path, at, owner, fi.Mode().Perm()),
				"whoever can replace a program that root runs is root", fmt.Sprintf("sudo chown root %s && sudo chmod go-w %s", at, at))
			return
		}
		if at == "/" || at == "." {
			return
		}
	}
}

// others reports whether others than root and the examiner can change a file, or
// a directory's files.
func others(fi fs.FileInfo) (owner uint32, can bool) {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	sticky := fi.IsDir() && fi.Mode()&fs.ModeSticky != 0
	return st.Uid, st.Uid != 0 || fi.Mode().Perm()&0o022 != 0 && !sticky
}

// capNetAdmin is the number of CAP_NET_ADMIN (capabilities(7)).
const capNetAdmin = 12

func privileges(_ context.Context, p *patient) ([]Finding, error) {
	var f findings
	for _, c := range p.configs {
		o, ok := c.ours()
		if !ok || o.Shim.Address != "" {
			continue
		}
		switch {
		case o.Driver == "vmnet" && p.OS == "darwin" && p.MacOS < 16 && p.UID != 0:
			f.wrong(fmt.Sprintf("%s: driver vmnet, and this user is not root", c.path), fmt.Sprintf("up to macOS 15 only root may use vmnet.framework (this is %d)", p.MacOS),
				`sudo vmnet-shim install, and "shim": {"address": "/var/run/vmnet/shim.sock"}; or "driver": "netstack"`)
		case o.Driver == "tap" && p.OS == "linux" && p.UID != 0:
			f.wrong(fmt.Sprintf("%s: driver tap, and this user is not root", c.path), "bridges and taps need CAP_NET_ADMIN",
				`sudo vmnet-shim install --tap --group GROUP, and "shim": {"address": "/run/vmnet/shim.sock"}; or "driver": "netstack"`)
		case o.Driver == "tap" && p.OS == "linux" && !p.capable(capNetAdmin):
			f.wrong(c.path+": driver tap, and root has no CAP_NET_ADMIN here", "bridges and taps need it", "start the container with --cap-add NET_ADMIN --device /dev/net/tun")
		}
	}
	if p.OS == "linux" && p.wants("tap") && p.find(unitDirs(), "vmnet-shim.service") != "" && p.find(unitDirs(), "vmnet-shim.service.d/tap.conf") == "" {
		f.wrong("driver tap is configured, and systemd's vmnet-shim.service has no capability", "the unit gives none unless its drop-in tap.conf is there", "sudo vmnet-shim install --tap")
	}
	return f, nil
}

func unitDirs() []string {
	return []string{"/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"}
}

// capable reports whether the effective capabilities have number n; where they
// cannot be read, it says yes.
func (p *patient) capable(n uint) bool {
	data, err := os.ReadFile(p.at("/proc/self/status"))
	if err != nil {
		return true
	}
	for line := range strings.Lines(string(data)) {
		if hex, ok := strings.CutPrefix(line, "CapEff:"); ok {
			var caps uint64
			_, err := fmt.Sscanf(strings.TrimSpace(hex), "%x", &caps)
			return err != nil || caps&(1<<n) != 0
		}
	}
	return true
}
