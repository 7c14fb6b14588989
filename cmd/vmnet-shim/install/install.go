// Package install puts the programs and the service into place on a system, and
// takes them away again: "vmnet-shim install" and "vmnet-shim uninstall".
//
// An installation is a list of steps, each of which looks first whether there is
// anything to do: a second run changes nothing. What was made is written to a
// record, and only what the record names and still is as it was made is taken away.
// Nothing that others put there is overwritten, unless Force says so.
package install

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Names of what is installed.
const (
	Shim   = "vmnet-shim"
	Plugin = "vmnet"
	// Label is the name of launchd's job.
	Label = "io.github.vmnet-cni.vmnet-shim"
)

// DropIns are the programs as which vmnet-shim acts when it is called so.
func DropIns() []string {
	return []string{"socket_vmnet", "socket_vmnet_client", "vmnet-helper", "vmnet-run"}
}

// Config says what is installed, and where.
type Config struct {
	// OS is "linux" or "darwin".
	OS string
	// MacOS is the major version of macOS, which decides between a daemon of the
	// system (up to 15) and an agent of each user (26 and newer).
	MacOS int
	// Root is the directory that stands for /. With another one than "" and "/"
	// files are put there and no command is run.
	Root string
	// Prefix gets bin/vmnet-shim and share/vmnet-shim. Empty: /usr/local, and
	// /opt/vmnet on macOS, where /usr/local may belong to a user.
	Prefix string
	// CNIBin is the directory of CNI plugins. Empty: /opt/cni/bin.
	CNIBin string
	// Links adds the drop-ins beside vmnet-shim.
	Links bool
	// NoService leaves out the service: the plugin starts the shim then.
	NoService bool
	// Tap lets systemd's service have what driver tap needs.
	Tap bool
	// Group may use the shim of the service. Empty: root alone on Linux, staff on
	// macOS.
	Group string
	// ShimFile and PluginFile are the programs to copy.
	ShimFile, PluginFile string
	// Entitle signs the copy of vmnet-shim at path with the entitlements. Nil: it
	// stays as it is.
	Entitle func(ctx context.Context, path string, entitlements []byte) error
	// Run runs a command of the system. Nil: none is run.
	Run func(ctx context.Context, name string, args ...string) error
	// Managed reports whether the system's service manager runs. Nil: it does not.
	Managed func() bool
	// Force overwrites and removes files that are not as an installation left them.
	Force bool
	// DryRun only tells what would be done.
	DryRun bool
	// Out is told each step.
	Out io.Writer
}

// withDefaults returns c with what is empty filled in, or what is wrong with it.
func (c Config) withDefaults() (Config, error) {
	switch c.OS {
	case "linux":
		c.Prefix = or(c.Prefix, "/usr/local")
	case "darwin":
		c.Prefix, c.Group = or(c.Prefix, "/opt/vmnet"), or(c.Group, "staff")
	default:
		return c, fmt.Errorf("install on %s: %w", c.OS, errors.ErrUnsupported)
	}
	c.CNIBin = or(c.CNIBin, "/opt/cni/bin")
	for _, d := range []struct{ flag, dir string }{{"--prefix", c.Prefix}, {"--cni-bin-dir", c.CNIBin}, {"--root", or(c.Root, "/")}} {
		if !filepath.IsAbs(d.dir) {
			return c, fmt.Errorf("%s %q: want an absolute path", d.flag, d.dir)
		}
	}
	if c.Tap && c.OS != "linux" {
		return c, fmt.Errorf("--tap: driver tap on %s: %w", c.OS, errors.ErrUnsupported)
	}
	if c.Root == "/" {
		c.Root = ""
	}
	if c.Out == nil {
		c.Out = io.Discard
	}
	return c, nil
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// at returns where path lies below the root.
func (c Config) at(path string) string { return filepath.Join(c.Root, path) }

func (c Config) bin() string    { return filepath.Join(c.Prefix, "bin") }
func (c Config) share() string  { return filepath.Join(c.Prefix, "share", Shim) }
func (c Config) record() string { return filepath.Join(c.share(), "installed.json") }

// live reports whether commands of the system are run.
func (c Config) live() bool {
	return c.Root == "" && c.Run != nil && c.Managed != nil && c.Managed()
}

// An installer is one run.
type installer struct {
	Config
	rec        *record
	changed    bool
	jobChanged bool // launchd's job is another one than before
}

// Install puts everything into place. When it returns an error, a further run goes
// on where this one ended, and Uninstall takes away what was done.
func Install(ctx context.Context, cfg Config) error {
	in, err := newInstaller(cfg)
	if err != nil {
		return err
	}
	files, err := in.files(ctx)
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := in.conflict(f); err != nil {
			return err
		}
	}
	for _, f := range files {
		if err := in.put(f); err != nil {
			return err
		}
	}
	if err := in.dropOld(files); err != nil {
		return err
	}
	if err := in.start(ctx); err != nil {
		return err
	}
	if !in.changed {
		in.note("nothing to do: everything is in place")
	}
	return nil
}

// Uninstall takes away what Install made. The state directory stays.
func Uninstall(ctx context.Context, cfg Config) error {
	in, err := newInstaller(cfg)
	if err != nil {
		return err
	}
	if len(in.rec.Files) == 0 {
		in.note("nothing to do: no record of an installation at %s", in.at(in.record()))
		return nil
	}
	service := in.hasService()
	if err := in.stop(ctx); err != nil {
		return err
	}
	var errs []error
	for i := len(in.rec.Files) - 1; i >= 0; i-- {
		if err := in.remove(in.rec.Files[i]); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) == 0 {
		errs = append(errs, in.removeRecord())
	}
	if service {
		errs = append(errs, in.reload(ctx))
	}
	return errors.Join(errs...)
}

func newInstaller(cfg Config) (*installer, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	in := &installer{Config: cfg}
	in.rec, err = readRecord(cfg.at(cfg.record()))
	if errors.Is(err, fs.ErrNotExist) {
		in.rec, err = &record{}, nil
	}
	return in, err
}

// say tells a step that is taken, or would be.
func (in *installer) say(format string, args ...any) {
	if in.DryRun {
		format = "would " + format
	}
	in.note(format, args...)
}

// note tells something else.
func (in *installer) note(format string, args ...any) { fmt.Fprintf(in.Out, format+"\n", args...) }

// run runs a command of the system, or tells it.
func (in *installer) run(ctx context.Context, name string, args ...string) error {
	in.changed = true
	in.say("run %s", shown(name, args))
	if in.DryRun {
		return nil
	}
	if err := in.Run(ctx, name, args...); err != nil {
		return fmt.Errorf("%s: %w", shown(name, args), err)
	}
	return nil
}

func shown(name string, args []string) string {
	for _, a := range args {
		name += " " + a
	}
	return name
}

// makeDirs makes the directories above path, and records those that were missing.
func (in *installer) makeDirs(path string) error {
	dir := filepath.Dir(path)
	if dir == path {
		return nil
	}
	if _, err := os.Stat(in.at(dir)); err == nil {
		return nil
	}
	if err := in.makeDirs(dir); err != nil {
		return err
	}
	if in.DryRun {
		return nil
	}
	if err := os.Mkdir(in.at(dir), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	in.rec.add(entry{Path: dir, Kind: kindDir})
	return os.Chmod(in.at(dir), 0o755) // whatever the umask
}
