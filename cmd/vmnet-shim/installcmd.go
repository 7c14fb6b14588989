package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/vmnet-cni/vmnet/cmd/vmnet-shim/install"
	"github.com/vmnet-cni/vmnet/internal/progress"
)

// installFlags are the flags that install and uninstall share.
type installFlags struct {
	install.Config
	plugin string
}

func (f *installFlags) register(fl *pflag.FlagSet) {
	fl.BoolVar(&f.DryRun, "dry-run", false, "tell what would be done, and do nothing")
	fl.BoolVar(&f.Force, "force", false, "overwrite and remove files that are not as an installation left them")
	fl.StringVar(&f.Prefix, "prefix", "", "where bin/vmnet-shim goes (default /usr/local; on macOS /opt/vmnet)")
	fl.StringVar(&f.CNIBin, "cni-bin-dir", "/opt/cni/bin", "directory of CNI plugins")
	fl.StringVar(&f.Root, "root", "", "directory that stands for /: files go there, and no command is run")
}

func newInstall() *cobra.Command {
	var f installFlags
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Install the programs and the service on this system",
		Long: `Copy vmnet-shim and the CNI plugin into place, and have the system start the shim
when it is needed: systemd by its socket, launchd at boot (macOS up to 15) or at
each user's login (macOS 26). Every step is printed. A second run changes nothing;
"vmnet-shim uninstall" takes away what this one made, and nothing else.

Run it as root, from a directory that has both programs.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.programs(); err != nil {
				return err
			}
			cfg, err := f.config(cmd)
			if err != nil {
				return err
			}
			defer show(cmd, &cfg).Stop()
			return install.Install(context.Background(), cfg)
		},
	}
	fl := cmd.Flags()
	f.register(fl)
	fl.StringVar(&f.plugin, "plugin", "", "the CNI plugin's program (default vmnet beside this one)")
	fl.BoolVar(&f.Links, "dropins", false, "add socket_vmnet, socket_vmnet_client, vmnet-helper and vmnet-run beside vmnet-shim")
	fl.BoolVar(&f.NoService, "no-service", false, "no unit for systemd, no job for launchd: the plugin starts the shim")
	fl.BoolVar(&f.Tap, "tap", false, "Linux: let the service have what driver tap needs (CAP_NET_ADMIN)")
	fl.StringVar(&f.Group, "group", "", "let the members of this group use the shim (default root alone; on macOS staff)")
	return cmd
}

func newUninstall() *cobra.Command {
	var f installFlags
	cmd := &cobra.Command{
		Use:   "uninstall",
		Short: "Remove what install put on this system",
		Long: `Stop the service and remove what "vmnet-shim install" made. What was changed since
is left, and named. The state directory with the leases stays.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := f.config(cmd)
			if err != nil {
				return err
			}
			defer show(cmd, &cfg).Stop()
			return install.Uninstall(context.Background(), cfg)
		},
	}
	f.register(cmd.Flags())
	return cmd
}

// programs finds the programs to copy.
func (f *installFlags) programs() error {
	self, err := os.Executable()
	if err == nil {
		self, err = filepath.EvalSymlinks(self)
	}
	if err != nil {
		return err
	}
	f.ShimFile, f.PluginFile = self, f.plugin
	if f.plugin == "" {
		f.PluginFile = filepath.Join(filepath.Dir(self), install.Plugin)
	}
	if _, err := os.Stat(f.PluginFile); err != nil {
		return fmt.Errorf("the CNI plugin: %w: name it with --plugin", err)
	}
	return nil
}

// show has a terminal tell which command of the system is waited for.
func show(cmd *cobra.Command, cfg *install.Config) *progress.Line {
	line := waiting(cmd, nil, "copying")
	cfg.Out = line.Over(cfg.Out)
	run := cfg.Run
	cfg.Run = func(ctx context.Context, name string, args ...string) error {
		line.Say(strings.Join(append([]string{name}, args...), " "))
		return run(ctx, name, args...)
	}
	return line
}

// config adds what this system is and can do.
func (f *installFlags) config(cmd *cobra.Command) (install.Config, error) {
	cfg := f.Config
	cfg.OS, cfg.Out = runtime.GOOS, cmd.OutOrStdout()
	cfg.Run = func(ctx context.Context, name string, args ...string) error {
		out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
		if text := strings.TrimSpace(string(out)); err != nil && text != "" {
			return fmt.Errorf("%w: %s", err, text)
		}
		return err
	}
	if runtime.GOOS != "darwin" {
		cfg.Managed = func() bool { // sd_booted(3)
			_, err := os.Stat("/run/systemd/system")
			return err == nil
		}
		return cfg, nil
	}
	cfg.Managed = func() bool { return true }
	cfg.Entitle = func(ctx context.Context, path string, entitlements []byte) error {
		plist := path + ".entitlements"
		if err := os.WriteFile(plist, entitlements, 0o600); err != nil {
			return err
		}
		return cfg.Run(ctx, "codesign", "-f", "-s", "-", "--entitlements", plist, path)
	}
	var err error
	cfg.MacOS, err = macOSVersion(cmd.Context())
	return cfg, err
}

// macOSVersion returns the major version of this macOS.
func macOSVersion(ctx context.Context) (int, error) {
	if ctx == nil {
		ctx = context.Background()
	}
	out, err := exec.CommandContext(ctx, "sw_vers", "-productVersion").Output()
	if err != nil {
		return 0, fmt.Errorf("sw_vers: %w", err)
	}
	major, _, _ := strings.Cut(strings.TrimSpace(string(out)), ".")
	n, err := strconv.Atoi(major)
	if err != nil {
		return 0, errors.New("sw_vers: no version in its answer")
	}
	return n, nil
}
