// Package deptest holds the test of who may import whom. It has no code of its
// own.
package deptest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/vmnet-cni/vmnet/"

// A rule says what packages may not import, and why. Paths are relative to this
// module where they begin with one of its folders. "x/..." means x and all below
// it; "*" in mayNot, every package of this module.
type rule struct {
	name   string
	who    []string // whom the rule binds
	not    []string // who is free of it, though who matches
	mayNot []string
	but    []string // what is allowed, though mayNot matches
	deep   bool     // what they import imports counts too
	why    string
}

var rules = []rule{
	{
		name: "the plugin is light", who: []string{"plugins/vmnet"}, deep: true,
		mayNot: []string{
			"gvisor.dev/gvisor/...", "go.etcd.io/...", "github.com/prometheus/...", "github.com/spf13/...",
			"github.com/ebitengine/purego/...", "go.opentelemetry.io/...", "github.com/insomniacslk/dhcp/...", "github.com/miekg/dns/...",
			"google.golang.org/...", "github.com/containernetworking/cni/pkg/invoke", "github.com/containernetworking/cni/pkg/skel",
			"net/http", "crypto/tls",
		},
		why: "its start-up is part of every ADD; cni/pkg/invoke brings OpenTelemetry, cni/pkg/skel opens CNI_NETNS, net/http is a third of the start",
	},
	{
		name: "the plugin is thin", who: []string{"plugins/vmnet"}, deep: true,
		mayNot: []string{"*"},
		but:    []string{"pkg/shim", "pkg/handover", "pkg/vmnet", "pkg/shim/netlink/...", "internal/plainjson"},
		why:    "it asks the shim and does nothing itself",
	},
	{
		name: "leaves", who: []string{"pkg/vmnet", "pkg/ipam", "pkg/handover"}, deep: true,
		mayNot: []string{"*"},
		why:    "runtimes and other programs import them alone",
	},
	{
		name: "leaves need little", who: []string{"pkg/vmnet", "pkg/handover"}, deep: true,
		mayNot: []string{"github.com/...", "go.etcd.io/...", "gvisor.dev/...", "google.golang.org/..."},
		but:    []string{"github.com/google/uuid"},
		why:    "a runtime that takes a frame fd should not take a tree of modules with it",
	},
	{
		name: "the relay", who: []string{"pkg/relay"}, deep: true,
		mayNot: []string{"*"}, but: []string{"pkg/vmnet", "pkg/relay/vnethdr", "internal/segments", "internal/checksum"},
		why: "it moves frames and knows no driver, no shim and no address",
	},
	{
		name: "answers on the frame path", who: []string{"pkg/dhcp", "pkg/guard"}, deep: true,
		mayNot: []string{"*"}, but: []string{"pkg/vmnet", "pkg/relay", "pkg/relay/vnethdr", "internal/segments", "internal/checksum"},
		why: "a stage of the relay is told the lease; it does not look for it",
	},
	{
		name: "client and server share little", who: []string{"pkg/shim"}, deep: true,
		mayNot: []string{"*", "github.com/sirupsen/logrus"}, but: []string{"pkg/vmnet", "pkg/handover", "internal/plainjson"},
		why: "what the client imports, the plugin links",
	},
	{
		name: "netlink is light", who: []string{"pkg/shim/netlink"}, deep: true,
		mayNot: []string{"*", "github.com/..."},
		but: []string{
			"pkg/shim", "pkg/handover", "pkg/vmnet", "pkg/shim/netlink/...", "internal/plainjson", "github.com/google/uuid",
			"github.com/vishvananda/netlink/...", "github.com/vishvananda/netns",
		},
		why: "the plugin links it, and so do programs that want nothing else of this house",
	},
	{
		name: "no driver in the server", who: []string{"pkg/shim/server"}, deep: true,
		mayNot: []string{"pkg/vmnet/framework/...", "pkg/vmnet/netstack/...", "pkg/vmnet/tap/..."},
		why:    "drivers come as a map from cmd/vmnet-shim: no registry, no init",
	},
	{
		name: "drivers do not know each other", who: []string{"pkg/vmnet/framework", "pkg/vmnet/netstack", "pkg/vmnet/tap"}, deep: true,
		mayNot: []string{"*"}, but: []string{"pkg/vmnet", "pkg/vmnet/framework/...", "pkg/vmnet/netstack/...", "pkg/vmnet/tap/...", "internal/..."},
		why: "a driver is an interface of pkg/vmnet and nothing of the house above it",
	},
	{
		name: "programs are not libraries", who: []string{"pkg/...", "plugins/...", "internal/..."},
		mayNot: []string{"plugins/...", "cmd/...", "conformance/..."},
		why:    "programs and tests stand on top",
	},
	{
		name: "purego", who: []string{"*"}, not: []string{"pkg/vmnet/framework/..."},
		mayNot: []string{"github.com/ebitengine/purego/..."},
		why:    "one place calls C without cgo",
	},
	{
		name: "gVisor", who: []string{"*"}, not: []string{"pkg/vmnet/netstack/...", "conformance/guest/..."},
		mayNot: []string{"gvisor.dev/gvisor/..."},
		why:    "its API changes without notice, and it is large",
	},
	{
		name: "etcd", who: []string{"*"}, not: []string{"pkg/ipam/etcdstore/..."},
		mayNot: []string{"go.etcd.io/etcd/..."},
		why:    "only the store that uses it pays for it",
	},
	{
		name: "bbolt", who: []string{"*"}, not: []string{"pkg/ipam/boltstore/..."},
		mayNot: []string{"go.etcd.io/bbolt/..."},
		why:    "leases are the only thing in that file, and pkg/ipam stays a leaf",
	},
	{
		name: "CNI", who: []string{"*"}, not: []string{"plugins/vmnet", "cmd/vmnet-shim", "conformance/..."},
		mayNot: []string{"github.com/containernetworking/..."},
		why:    "the shim serves programs that never heard of CNI",
	},
	{
		name: "logrus", who: []string{"pkg/...", "internal/..."}, not: []string{"pkg/shim/server/...", "pkg/shim/keeper/..."},
		mayNot: []string{"github.com/sirupsen/logrus"},
		why:    "libraries return errors; programs log them",
	},
	{
		name: "command lines", who: []string{"*"}, not: []string{"cmd/..."},
		mayNot: []string{"github.com/spf13/cobra/..."},
		why:    "only the operator's program has commands",
	},
	{
		name: "metrics", who: []string{"*"}, not: []string{"pkg/shim/server/...", "cmd/..."},
		mayNot: []string{"github.com/prometheus/..."},
		why:    "packages count in their own Stats; the server exports them",
	},
}

func TestImports(t *testing.T) {
	for _, goos := range []string{"linux", "darwin"} {
		t.Run(goos, func(t *testing.T) {
			packages := list(t, goos)
			for _, r := range rules {
				r.check(t, packages)
			}
		})
	}
}

// A pkg is what go list tells of a package.
type pkg struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

// list returns the packages of this module as they are built for goos.
func list(t *testing.T, goos string) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Imports,Deps", module+"...")
	cmd.Env = append(os.Environ(), "GOOS="+goos, "CGO_ENABLED=0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v: %s", err, &stderr)
	}
	var all []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if len(all) < 5 {
		t.Fatalf("go list found %d packages", len(all))
	}
	return all
}

func (r rule) check(t *testing.T, packages []pkg) {
	for _, p := range packages {
		if !matches(r.who, p.ImportPath) || matches(r.not, p.ImportPath) {
			continue
		}
		imports := p.Imports
		if r.deep {
			imports = p.Deps
		}
		for _, imp := range imports {
			if imp != p.ImportPath && matches(r.mayNot, imp) && !matches(r.but, imp) {
				t.Errorf("%s: %s imports %s: %s", r.name, short(p.ImportPath), short(imp), r.why)
			}
		}
	}
}

// matches reports whether one of the patterns fits the import path.
func matches(patterns []string, path string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		switch {
		case pattern == "*":
			return strings.HasPrefix(path, module)
		case !strings.Contains(strings.SplitN(pattern, "/", 2)[0], "."):
			pattern = module + pattern
		}
		if prefix, ok := strings.CutSuffix(pattern, "/..."); ok {
			return path == prefix || strings.HasPrefix(path, prefix+"/")
		}
		return path == pattern
	})
}

func short(path string) string { return strings.TrimPrefix(path, module) }

// Rules that match nothing prove nothing: every pattern of this module in who
// and not must name a package, or be on the list of what is planned.
func TestRulesBind(t *testing.T) {
	planned := []string{"pkg/shim/keeper/..."}
	packages := list(t, "linux")
	for _, r := range rules {
		for _, pattern := range slices.Concat(r.who, r.not) {
			found := slices.ContainsFunc(packages, func(p pkg) bool { return matches([]string{pattern}, p.ImportPath) })
			if !found && !slices.Contains(planned, pattern) {
				t.Errorf("%s: no package matches %s", r.name, pattern)
			}
		}
	}
}

func TestMatches(t *testing.T) {
	for _, tt := range []struct {
		pattern, path string
		want          bool
	}{
		{"*", module + "pkg/x", true}, {"*", "fmt", false},
		{"pkg/x", module + "pkg/x", true}, {"pkg/x", module + "pkg/x/y", false}, {"pkg/x/...", module + "pkg/x/y", true},
		{"pkg/x/...", module + "pkg/xy", false}, {"go.etcd.io/...", "go.etcd.io/bbolt", true}, {"go.etcd.io/bbolt/...", "go.etcd.io/bbolt", true},
	} {
		if got := matches([]string{tt.pattern}, tt.path); got != tt.want {
			t.Errorf("matches(%q, %q) = %v", tt.pattern, tt.path, got)
		}
	}
}
