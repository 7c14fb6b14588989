package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/vmnet-cni/vmnet/pkg/shim"
)

func leftovers(ctx context.Context, p *patient) ([]Finding, error) {
	var f findings
	if p.shimErr != nil && !errors.Is(p.shimErr, shim.ErrNotRunning) {
		return nil, errors.New("the shim does not answer")
	}
	p.staleSockets(&f)
	p.orphans(&f)
	if p.OS == "linux" && p.UID == 0 { // others see no tables
		if err := p.kernelLeftovers(ctx, &f); err != nil {
			return f, err
		}
	}
	return f, nil
}

// staleSockets finds sockets of attachments that the shim does not have. Root's shim
// tells root of all.
func (p *patient) staleSockets(f *findings) {
	entries, err := os.ReadDir(p.at(p.Dirs.Sockets()))
	if err != nil {
		return
	}
	known := map[string]bool{}
	for _, a := range p.shim.Attachments {
		known[shim.Hash(a.Network, a.ContainerID, a.IfName)] = true
	}
	records := map[string]bool{}
	if list, err := os.ReadDir(p.at(p.Dirs.AttachmentRecords())); err == nil {
		for _, r := range list {
			records[strings.TrimSuffix(r.Name(), filepath.Ext(r.Name()))] = true
		}
	}
	stale := 0
	for _, e := range entries {
		hash, _, _ := strings.Cut(e.Name(), ".")
		if !known[hash] && !records[hash] {
			stale++
		}
	}
	if stale > 0 {
		f.note(fmt.Sprintf("%d sockets in %s have no attachment", stale, p.Dirs.Sockets()), "a shim was killed while it removed them; they hold nothing", p.clean())
	}
}

// clean is how what a shim left goes: the next one does that.
func (p *patient) clean() string {
	if p.runs() {
		return "rm the files that \"vmnet-shim ls --output json\" does not name"
	}
	return "vmnet-shim serve --idle-exit 1s"
}

// Orphan reports whether an attachment's network namespace is gone, and with it the
// container: no runtime will send DEL any more. Of other sandboxes, as the names of
// virtual machines, nothing can be told by their path.
func Orphan(a shim.Attachment, exists func(path string) bool) bool {
	s := a.Sandbox
	isNS := strings.HasPrefix(s, "/run/netns/") || strings.HasPrefix(s, "/var/run/netns/") || procNS.MatchString(s)
	return isNS && !exists(s)
}

var procNS = regexp.MustCompile(`^/proc/[0-9]+/(task/[0-9]+/)?ns/net$`)

func (p *patient) orphans(f *findings) {
	for _, a := range p.shim.Attachments {
		if Orphan(a, func(path string) bool { _, err := os.Stat(p.at(path)); return !errors.Is(err, fs.ErrNotExist) }) {
			f.wrong(fmt.Sprintf("%s %s %s: its network namespace %s is gone", a.Network, a.ContainerID, a.IfName, a.Sandbox), "the container ended without DEL; its address stays taken", "vmnet-shim gc")
		}
	}
}

// kernelLeftovers finds links and tables with the mark of driver tap (the package's
// documentation has it) whose network or link is gone.
func (p *patient) kernelLeftovers(ctx context.Context, f *findings) error {
	links, err := p.Links()
	if err != nil {
		return cannot("links", err)
	}
	for _, l := range links {
		rest, ours := strings.CutPrefix(l.Alias, "vmnet:")
		if !ours {
			continue
		}
		_, rest, _ = strings.Cut(rest, ":")
		network, _, _ := strings.Cut(rest, ":")
		if !slices.ContainsFunc(p.shim.Networks, func(n shim.Network) bool { return n.Name == network }) {
			f.wrong(fmt.Sprintf("link %s (%s) is of network %s, which no shim on %s has", l.Name, l.Alias, network, p.Dirs.ShimSocket()),
				"a shim was killed; unless another shim, with other directories, has it", "sudo ip link delete "+l.Name)
		}
	}
	out, err := p.Run(ctx, "nft", "-j", "list", "tables")
	if err != nil {
		return cannot("nft -j list tables", err)
	}
	tables, err := parseTables(out)
	if err != nil {
		return cannot("nft -j list tables", err)
	}
	for _, t := range tables {
		m := ourTable.FindStringSubmatch(t.Name)
		if m != nil && !slices.ContainsFunc(links, func(l Link) bool { return l.Name == m[1] }) {
			f.wrong(fmt.Sprintf("table %s %s of nftables is for link %s, which is gone", t.Family, t.Name, m[1]), "its rules can still catch packets", fmt.Sprintf("sudo nft delete table %s %s", t.Family, t.Name))
		}
	}
	return nil
}

// ourTable is the name of a table of driver tap: owner and link.
var ourTable = regexp.MustCompile(`^vmnet-[0-9a-f]{8}-(vm[bt][0-9a-f]{10})$`)

// A table is one of nftables.
type table struct {
	Family string `json:"family"`
	Name   string `json:"name"`
}

// parseTables reads what "nft -j list tables" prints.
func parseTables(out string) ([]table, error) {
	var doc struct {
		Nftables []struct {
			Table *table `json:"table"`
		} `json:"nftables"`
	}
	if err := json.Unmarshal([]byte(out), &doc); err != nil {
		return nil, err
	}
	var all []table
	for _, o := range doc.Nftables {
		if o.Table != nil {
			all = append(all, *o.Table)
		}
	}
	return all, nil
}
