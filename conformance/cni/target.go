package cni

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A DomainKind says what CNI_NETNS names.
type DomainKind string

// Isolation domains. The zero value means DomainOpaque.
const (
	// DomainOpaque gives names that only the runtime understands, such as
	// "vm://a1". It needs no privilege.
	DomainOpaque DomainKind = "opaque"
	// DomainNetNS makes real network namespaces (Linux, root).
	DomainNetNS DomainKind = "netns"
	// DomainNone makes none: checks that need a successful ADD are skipped.
	DomainNone DomainKind = "none"
	// DomainCustom is what a target with Custom has.
	DomainCustom DomainKind = "custom"
)

// A Domain makes isolation domains of a sort of its own, such as sockets on which
// the runtime of a machine listens.
type Domain interface {
	// Create makes a domain and returns what CNI_NETNS is for it: a path that
	// exists until Destroy. No two names are the same.
	Create(name string) (ref string, err error)
	// Destroy ends a domain. One that has ended already is no error.
	Destroy(ref string) error
}

// A Kind says what sort of plugin is judged. Section 2 of the specification
// knows interface plugins and chained ones; section 4, IPAM plugins.
type Kind string

// Kinds of plugins. The zero value means KindInterface.
const (
	// KindInterface makes the interface CNI_IFNAME.
	KindInterface Kind = "interface"
	// KindAdjust changes an interface that is there already, as loopback does.
	KindAdjust Kind = "adjust"
	// KindIPAM is delegated to: its result has no interfaces.
	KindIPAM Kind = "ipam"
)

// A Target is a plugin with all that the checks need to know of it. The zero
// value of each field but Plugin and Config is a default.
type Target struct {
	// Plugin is the path of the binary.
	Plugin string
	// Config is a configuration that the plugin accepts: one plugin's object,
	// or a list, of which the entry whose type is the binary's name counts
	// (the first, when none is). The text @N@ in it becomes the number of the
	// network: 0, and 1 to 3 in checks that need several.
	Config []byte
	// Path lists more directories for CNI_PATH, behind the plugin's own.
	Path []string
	// Env is added to the environment of the plugin, as "KEY=value".
	Env []string
	// Kind is KindInterface, KindAdjust or KindIPAM.
	Kind Kind
	// Domain is DomainOpaque, DomainNetNS or DomainNone.
	Domain DomainKind
	// Custom, where it is set, makes the isolation domains instead.
	Custom Domain
	// IfName is CNI_IFNAME; "eth0".
	IfName string
	// Dirs are directories in which the plugin keeps its state. Files in them
	// are counted around every check.
	Dirs []string
	// Ignore has patterns of path.Match for what is no leak: base names of
	// files, paths relative to Dirs, and whole entries of the accounts, such as
	// "link *".
	Ignore []string
	// Inventory is a shell command that prints one line for each thing that
	// the plugin holds, such as an attachment of its daemon. Its lines are
	// counted around every check.
	Inventory string
	// Drift is a shell command that changes what CHECK and STATUS look at. It
	// finds what to do in CNI_DRIFT (see Drifts) and the attachment in
	// CNI_NETWORK, CNI_CONTAINERID, CNI_IFNAME and CNI_NETNS. It exits with 0
	// when that is done, and with 77 when it cannot do such a thing.
	Drift string
	// Bad are JSON merge patches (RFC 7386) that make Config wrong: each must
	// be refused.
	Bad []string
	// Small is a JSON merge patch that leaves the network at most 16
	// addresses, so that they can be used up.
	Small string
	// Timeout bounds each execution of the plugin; 30 s. A plugin that takes
	// longer hangs.
	Timeout time.Duration
	// Parallel is how many ADDs the checks of concurrency make at once; 8.
	Parallel int
	// Kills is how many ADDs are killed at random instants; 20. Negative: none.
	Kills int
	// Double is a program that answers as a double when executed under a
	// double's name, as the command cni-conformance does. Empty: it is built
	// with "go build" from this module.
	Double string
}

// Drifts returns what a drift hook may be asked to do: take away or change a part
// of an attachment, stop, start, suspend and resume the daemon that connectivity
// depends on, and make ADD impossible and possible again.
func Drifts() []string {
	return []string{"interface", "mac", "mtu", "address", "route", "socket", "reservation", "forward", "host",
		"daemon-stop", "daemon-start", "daemon-hang", "daemon-resume", "unable", "able"}
}

// withDefaults returns t with its defaults filled in, or what is wrong with it.
func (t Target) withDefaults() (Target, error) {
	abs, err := filepath.Abs(t.Plugin)
	if err != nil {
		return t, err
	}
	info, err := os.Stat(abs)
	switch {
	case t.Plugin == "":
		return t, errors.New("plugin: want the path of a CNI plugin's binary")
	case err != nil:
		return t, fmt.Errorf("plugin: %w", err)
	case !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0:
		return t, fmt.Errorf("plugin %s: want an executable file: %w", t.Plugin, fs.ErrInvalid)
	}
	t.Plugin = abs
	t.Kind = orElse(t.Kind, KindInterface)
	t.Domain = orElse(t.Domain, DomainOpaque)
	if t.Custom != nil {
		t.Domain = DomainCustom
	}
	t.IfName = orElse(t.IfName, "eth0")
	t.Timeout = orElse(t.Timeout, 30*time.Second)
	t.Parallel = orElse(t.Parallel, 8)
	t.Kills = orElse(t.Kills, 20)
	if !slices.Contains([]Kind{KindInterface, KindAdjust, KindIPAM}, t.Kind) {
		return t, fmt.Errorf("kind %q: want interface, adjust or ipam", t.Kind)
	}
	if t.Custom == nil && !slices.Contains([]DomainKind{DomainOpaque, DomainNetNS, DomainNone}, t.Domain) {
		return t, fmt.Errorf("domain %q: want opaque, netns or none", t.Domain)
	}
	for _, p := range slices.Concat(t.Bad, []string{orElse(t.Small, "{}")}) {
		if err := json.Unmarshal([]byte(p), new(map[string]any)); err != nil {
			return t, fmt.Errorf("patch %s: want a JSON object: %w", p, err)
		}
	}
	for _, kv := range t.Env {
		if !strings.Contains(kv, "=") {
			return t, fmt.Errorf("environment %q: want KEY=value", kv)
		}
	}
	return t, nil
}

// orElse returns v, or def where v is the zero value.
func orElse[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}
