package cni

import (
	"io/fs"
	"maps"
	"net"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// settleLimit is how long what an attachment had may take to go, and kernelLimit how
// long links and processes may: a kernel takes a veth away some time after its
// namespace, and that is long where many namespaces go at once.
const (
	settleLimit = 3 * time.Second
	kernelLimit = time.Minute
)

// An inventory counts what there is on the host, by kind and name: links of the
// host's namespace, files in the target's directories, lines of its inventory
// command and processes that descend from the session.
type inventory map[string]int

// take takes stock.
func (s *session) take() inventory {
	inv := inventory{}
	ifs, _ := net.Interfaces() // none where the system tells none
	for _, i := range ifs {
		inv["link "+i.Name]++
	}
	for _, dir := range s.target.Dirs {
		s.takeFiles(inv, dir)
	}
	if s.target.Inventory != "" {
		out, err := s.hook(s.target.Inventory)
		if err != nil {
			inv["inventory command failed: "+err.Error()]++
		}
		for line := range strings.Lines(string(out)) {
			inv["entry "+strings.TrimSpace(line)]++
		}
	}
	for _, name := range descendants(s.token) {
		inv["process "+name]++
	}
	maps.DeleteFunc(inv, func(entry string, _ int) bool { return s.ignored(entry) })
	return inv
}

// calm takes stock when nothing changes any more: a daemon may still be at work on
// what it has answered.
func (s *session) calm() inventory {
	inv := s.take()
	poll(settleLimit, func() bool {
		before := inv
		time.Sleep(50 * time.Millisecond)
		inv = s.take()
		return maps.Equal(inv, before)
	})
	return inv
}

// changes tells how now differs from inv, in a text for people, or "".
func (inv inventory) changes(now inventory) string {
	return strings.Join(slices.Concat(now.more(inv), inv.more(now)), ", ")
}

// ignored reports whether one of the target's patterns matches one of the names.
func (s *session) ignored(names ...string) bool {
	return slices.ContainsFunc(s.target.Ignore, func(pattern string) bool {
		return slices.ContainsFunc(names, func(name string) bool {
			ok, _ := path.Match(pattern, filepath.ToSlash(name))
			return ok
		})
	})
}

func (s *session) takeFiles(inv inventory, dir string) {
	// What vanishes while it is walked is none.
	_ = filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return nil
		}
		rel, err := filepath.Rel(dir, name)
		if err == nil && !s.ignored(rel, filepath.Base(rel)) {
			inv["file "+name]++
		}
		return nil
	})
}

// hook runs a shell command of the target's.
func (s *session) hook(command string, env ...string) ([]byte, error) {
	cmd := exec.CommandContext(s.ctx, "sh", "-c", command)
	cmd.Env = append(append(os.Environ(), s.target.Env...), env...)
	return cmd.Output()
}

// more returns what inv has and base has not, sorted.
func (inv inventory) more(base inventory) []string {
	var all []string
	for k, n := range inv {
		if n > base[k] {
			all = append(all, k)
		}
	}
	slices.Sort(all)
	return all
}

// merge raises the counts of inv to those of other.
func (inv inventory) merge(other inventory) {
	for k, n := range other {
		inv[k] = max(inv[k], n)
	}
}

// warmUp makes and removes one attachment of network n, the first time it is
// asked. What stays after that (a bridge, a lock file, a daemon) belongs to the
// network and not to an attachment, and is no leak. Whether ADD and DEL do what
// they should is not its business.
func (s *session) warmUp(n int) {
	if s.warm[n] {
		return
	}
	s.warm[n] = true
	p := &probe{session: s, check: &Check{}, base: inventory{}}
	p.guarded(func() {
		a := p.attachment(n)
		before := s.take()
		a.add()
		a.del()
		a.dropDomain()
		// The links of the attachment itself go a moment later.
		poll(kernelLimit, func() bool {
			return !slices.ContainsFunc(s.take().more(before), func(k string) bool { return strings.HasPrefix(k, "link veth") })
		})
	})
	if s.base == nil {
		s.base = inventory{}
	}
	s.base.merge(s.take())
}

// settle waits until nothing is left of the check, or fails it.
func (p *probe) settle() {
	p.base.merge(p.session.base)
	var left []string
	start := time.Now()
	poll(kernelLimit, func() bool {
		left = p.take().more(p.base)
		byKernel := slices.ContainsFunc(left, func(k string) bool {
			return strings.HasPrefix(k, "link ") || strings.HasPrefix(k, "process ")
		})
		return len(left) == 0 || !byKernel && time.Since(start) > settleLimit
	})
	if len(left) == 0 {
		return
	}
	p.failf("left behind: %s", strings.Join(kinds(left), ", "))
	p.seen = append(p.seen, "left behind: "+strings.Join(left[:min(len(left), 10)], ", "))
	// What this check left is not blamed on the next.
	p.session.base.merge(p.take())
}

// kinds counts entries by their first word, for a text that does not change.
func kinds(left []string) []string {
	n := map[string]bool{}
	for _, l := range left {
		kind, _, _ := strings.Cut(l, " ")
		n[kind] = true
	}
	return slices.Sorted(maps.Keys(n))
}

// held returns what there is now that was not when the check began and that is
// the plugin's own: not links, which go with their domain.
func (p *probe) held(since inventory) []string {
	return slices.DeleteFunc(p.take().more(since), func(k string) bool {
		return strings.HasPrefix(k, "link ") || strings.HasPrefix(k, "process ")
	})
}
