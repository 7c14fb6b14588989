package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// A Machine is what is examined.
type Machine struct {
	OS      string // as runtime.GOOS
	MacOS   int    // major version of macOS
	Root    string // stands for / ; "" is /
	UID     int
	Home    string
	Version string // of this program
	Program string // its path
	Dirs    shim.Dirs
	// CNIPath are directories of plugins, in the order of the search.
	CNIPath []string
	// CNIConf are directories of configurations.
	CNIConf []string
	// Path are the directories of programs.
	Path []string
	// Run runs a command and returns its standard output.
	Run func(ctx context.Context, name string, args ...string) (string, error)
	// Shim asks the shim; the error wraps shim.ErrNotRunning when there is none.
	Shim func(ctx context.Context) (Shim, error)
	// Links lists the system's interfaces, Prefixes what is in use on them.
	Links    func() ([]Link, error)
	Prefixes func() ([]Prefix, error)
	// Dial connects to a guest.
	Dial func(ctx context.Context, addr netip.Addr) error
	// Open opens a file for reading and writing, and closes it.
	Open func(path string) error
	// Free returns the bytes that are free for files in a directory.
	Free func(path string) (uint64, error)
	// Looking is told what is looked at next, in words; may be nil.
	Looking func(about string)
}

// A Shim is what a running shim tells.
type Shim struct {
	Status      shim.Status
	Networks    []shim.Network
	Attachments []shim.Attachment
}

// A Link is an interface of the system.
type Link struct{ Name, Alias string }

// A Prefix is in use on the interface Link, by an address or a route.
type Prefix struct {
	netip.Prefix
	Link string
}

// A config is a file with the CNI configuration of a network.
type config struct {
	path    string
	name    string
	err     error // it is no JSON
	mode    os.FileMode
	plugins []plugin
}

// A plugin is the part of a configuration that checks look at.
type plugin struct {
	Type    string `json:"type"`
	Driver  string `json:"driver"`
	Mode    string `json:"mode"`
	Subnet  string `json:"subnet"`
	Offload bool   `json:"offload"`
	IPAM    struct {
		Type string `json:"type"`
	} `json:"ipam"`
	Shim struct {
		Address string `json:"address"`
		Binary  string `json:"binary"`
	} `json:"shim"`
}

// ours returns the part of this plugin, if it has one.
func (c config) ours() (plugin, bool) {
	for _, p := range c.plugins {
		if p.Type == "vmnet" {
			return p, true
		}
	}
	return plugin{}, false
}

// A patient is a Machine with what several checks look at.
type patient struct {
	Machine
	shim    Shim
	shimErr error
	configs []config // with a plugin of ours, or broken
}

func examine(ctx context.Context, m Machine) *patient {
	p := &patient{Machine: m}
	p.shim, p.shimErr = m.Shim(ctx)
	p.configs = p.readConfigs()
	return p
}

// at returns where path lies below the root.
func (p *patient) at(path string) string { return filepath.Join("/", p.Root, path) }

func (p *patient) runs() bool { return p.shimErr == nil }

// find returns the first of the directories that has the file.
func (p *patient) find(dirs []string, name string) string {
	for _, d := range dirs {
		if fi, err := os.Stat(p.at(filepath.Join(d, name))); err == nil && !fi.IsDir() {
			return filepath.Join(d, name)
		}
	}
	return ""
}

// readConfigs reads the configurations that are about this plugin, as libcni finds
// them.
func (p *patient) readConfigs() []config {
	var all []config
	for _, dir := range p.CNIConf {
		entries, err := os.ReadDir(p.at(dir))
		if err != nil {
			continue // a machine without CNI
		}
		for _, e := range entries {
			if !slices.Contains([]string{".conf", ".conflist", ".json"}, filepath.Ext(e.Name())) {
				continue
			}
			if c, ok := p.readConfig(filepath.Join(dir, e.Name())); ok {
				all = append(all, c)
			}
		}
	}
	return all
}

func (p *patient) readConfig(path string) (config, bool) {
	data, err := os.ReadFile(p.at(path))
	if err != nil {
		return config{path: path, err: err}, errors.Is(err, os.ErrPermission)
	}
	var top struct {
		Name    string   `json:"name"`
		Plugins []plugin `json:"plugins"`
		plugin
	}
	c := config{path: path}
	if fi, err := os.Stat(p.at(path)); err == nil {
		c.mode = fi.Mode()
	}
	c.err = json.Unmarshal(data, &top)
	if c.name, c.plugins = top.Name, top.Plugins; len(c.plugins) == 0 {
		c.plugins = []plugin{top.plugin}
	}
	_, ours := c.ours()
	return c, ours || c.err != nil && strings.Contains(string(data), `"vmnet"`)
}

// wants reports whether a configuration or a network of the shim uses a driver.
func (p *patient) wants(driver string) bool {
	return slices.ContainsFunc(p.configs, func(c config) bool { o, ok := c.ours(); return ok && o.Driver == driver }) || p.has(driver)
}

// has reports whether a network of the shim uses a driver.
func (p *patient) has(driver string) bool {
	return slices.ContainsFunc(p.shim.Networks, func(n shim.Network) bool { return n.Driver == driver })
}
