package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"syscall"

	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// minFree is the room for files below which ADD may fail soon, in bytes.
const minFree = 64 << 20

func directories(_ context.Context, p *patient) ([]Finding, error) {
	var f findings
	for what, dir := range map[string]string{"runtime directory": p.Dirs.Runtime, "state directory": p.Dirs.State} {
		p.directory(&f, what, dir)
	}
	slices.SortFunc(f, func(a, b Finding) int { return len(a.What) - len(b.What) })
	return f, nil
}

// directory applies the rules of shim.Dirs.Prepare, which makes what is missing.
func (p *patient) directory(f *findings, what, dir string) {
	fi, err := os.Lstat(p.at(dir))
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			f.wrong(fmt.Sprintf("%s: %v", what, err), "the shim cannot start", "sudo chown "+fmt.Sprint(p.UID)+" "+dir)
		}
		return
	}
	st, _ := fi.Sys().(*syscall.Stat_t)
	switch {
	case fi.Mode()&fs.ModeSymlink != 0, !fi.IsDir():
		f.wrong(fmt.Sprintf("%s %s is not a directory", what, dir), "the shim refuses what another user could have prepared", "rm "+dir)
	case st != nil && int(st.Uid) != p.UID && st.Uid != 0:
		f.wrong(fmt.Sprintf("%s %s belongs to user %d", what, dir, st.Uid), "the shim refuses a directory of another user's", fmt.Sprintf("sudo chown %d %s", p.UID, dir))
	case fi.Mode().Perm()&0o022 != 0:
		f.wrong(fmt.Sprintf("%s %s has mode %04o", what, dir, fi.Mode().Perm()), "others could put sockets or state there: the shim refuses it", "chmod go-w "+dir)
	}
	if free, err := p.Free(p.at(dir)); err == nil && free < minFree {
		f.wrong(fmt.Sprintf("%s %s has %d MiB free", what, dir, free>>20), "ADD fails when its record cannot be written", "df -h "+dir)
	}
}

func running(ctx context.Context, p *patient) ([]Finding, error) {
	var f findings
	switch {
	case errors.Is(p.shimErr, shim.ErrNotRunning):
		p.notRunning(ctx, &f)
		return f, nil
	case p.shimErr != nil:
		f.wrong(fmt.Sprintf("the shim on %s does not answer: %v", p.Dirs.ShimSocket(), p.shimErr), "ADD, DEL and CHECK fail",
			"see its log ("+p.Dirs.LogFile()+"; under systemd: journalctl -u vmnet-shim), then end it: the next ADD starts another")
		return f, nil
	}
	s := p.shim.Status
	if s.Version != p.Version {
		f.wrong(fmt.Sprintf("the running shim is version %s, and this program %s", s.Version, p.Version), "it was updated, and the old one runs still", "vmnet-shim upgrade")
	}
	for _, problem := range s.Problems {
		f.wrong("the shim says: "+problem, "it goes on with what it has", "see its log: "+p.Dirs.LogFile())
	}
	for _, a := range p.shim.Attachments {
		if a.Problem != "" {
			f.wrong(fmt.Sprintf("%s %s %s: %s", a.Network, a.ContainerID, a.IfName, a.Problem), "this guest has no network", "restart the guest (DEL and ADD)")
		}
	}
	p.socketMode(&f)
	return f, nil
}

// socketMode looks at who may connect.
func (p *patient) socketMode(f *findings) {
	fi, err := os.Stat(p.at(p.Dirs.ShimSocket()))
	if err == nil && fi.Mode().Perm()&0o002 != 0 {
		f.wrong(fmt.Sprintf("%s has mode %04o", p.Dirs.ShimSocket(), fi.Mode().Perm()), "every user can use the shim", "chmod o-w "+p.Dirs.ShimSocket())
	}
}

// notRunning is fine, for the plugin starts the shim, unless it is systemd's or the
// keeper tells that it dies.
func (p *patient) notRunning(ctx context.Context, f *findings) {
	if problem, err := shim.KeeperProblem(p.at(p.Dirs.Runtime)); err == nil && problem != "" {
		f.wrong("the keeper says: "+problem, "guests have no network while the shim is away", "see "+p.Dirs.LogFile())
	}
	if p.UID != 0 || p.find(unitDirs(), "vmnet-shim.socket") == "" {
		return
	}
	if out, err := p.Run(ctx, "systemctl", "is-active", "vmnet-shim.socket"); err != nil && (out == "inactive\n" || out == "failed\n") {
		f.wrong("systemd's vmnet-shim.socket is "+out[:len(out)-1], "nobody listens for the plugin", "sudo systemctl enable --now vmnet-shim.socket")
	}
}

func offload(_ context.Context, p *patient) ([]Finding, error) {
	var f findings
	by := map[string]bool{}
	tell := func(key, who string, offload bool) {
		if before, ok := by[key]; ok && before != offload {
			f.wrong(who+" mixes guests with and without offload", "one interface without it turns it off for the whole bridge: host to guest falls to about 1.5 Gbit/s",
				`set "offload" alike in every configuration of that subnet, and start the guests again`)
		}
		by[key] = offload
	}
	for _, a := range p.shim.Attachments {
		if a.Driver == shim.DriverVmnet {
			tell("network "+a.Network, "network "+a.Network, a.Offload)
		}
	}
	for _, c := range p.configs {
		if o, ok := c.ours(); ok && o.Subnet != "" && p.OS == "darwin" && o.Driver != shim.DriverNetstack {
			tell("subnet "+o.Mode+o.Subnet, "subnet "+o.Subnet+" ("+c.path+")", o.Offload)
		}
	}
	return f, nil
}
