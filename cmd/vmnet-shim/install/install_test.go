package install_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vmnet-cni/vmnet/cmd/vmnet-shim/install"
	"github.com/vmnet-cni/vmnet/internal/require"
)

// config returns an installation below a directory of the test.
func config(t *testing.T, out *strings.Builder) install.Config {
	t.Helper()
	dir := t.TempDir()
	cfg := install.Config{
		OS: "linux", Root: filepath.Join(dir, "root"), Out: out,
		ShimFile: filepath.Join(dir, "vmnet-shim"), PluginFile: filepath.Join(dir, "vmnet"),
	}
	must(t, os.WriteFile(cfg.ShimFile, []byte("#!/bin/sh\n"), 0o755))
	must(t, os.WriteFile(cfg.PluginFile, []byte("#!/bin/sh\n# plugin\n"), 0o755))
	must(t, os.Mkdir(cfg.Root, 0o755))
	return cfg
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tree lists what is below dir: path, mode, and where links lead.
func tree(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		fi, err := d.Info()
		line := fmt.Sprintf("%s %v", rel, fi.Mode())
		if to, err := os.Readlink(path); err == nil {
			line += " " + to
		}
		all = append(all, line)
		return err
	}))
	return all
}

func has(lines []string, start string) bool {
	return slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, start) })
}

func TestInstallLinux(t *testing.T) {
	var out strings.Builder
	cfg := config(t, &out)
	cfg.Links, cfg.Tap, cfg.Group = true, true, "netdev"
	must(t, os.MkdirAll(filepath.Join(cfg.Root, "opt/cni/bin"), 0o755))
	before := tree(t, cfg.Root)
	dry := cfg
	dry.DryRun = true
	must(t, install.Install(t.Context(), dry))
	if got := tree(t, cfg.Root); !slices.Equal(got, before) {
		t.Fatalf("a dry run made %v", got)
	}
	if !strings.Contains(out.String(), "would write "+cfg.Root+"/opt/cni/bin/vmnet (0755, 19 bytes)") {
		t.Errorf("a dry run told %s", &out)
	}
	must(t, install.Install(t.Context(), cfg))
	got := tree(t, cfg.Root)
	for _, want := range []string{
		"usr/local/bin/vmnet-shim -rwxr-xr-x", "opt/cni/bin/vmnet -rwxr-xr-x", "usr/local/bin/socket_vmnet Lrwxrwxrwx vmnet-shim",
		"usr/local/bin/socket_vmnet_client L", "usr/local/bin/vmnet-helper L", "usr/local/bin/vmnet-run L",
		"etc/systemd/system/vmnet-shim.socket -rw-r--r--", "etc/systemd/system/vmnet-shim.service -rw-r--r--",
		"etc/systemd/system/vmnet-shim.service.d/tap.conf -rw-r--r--", "etc/systemd/system/vmnet-shim.socket.d/group.conf -rw-r--r--",
	} {
		if !has(got, want) {
			t.Errorf("no %q in %s", want, strings.Join(got, "\n"))
		}
	}
	contains(t, cfg, "etc/systemd/system/vmnet-shim.service", "ExecStart=/usr/local/bin/vmnet-shim serve\n")
	contains(t, cfg, "etc/systemd/system/vmnet-shim.service.d/group.conf", "ExecStart=/usr/local/bin/vmnet-shim serve --group netdev\n")
	contains(t, cfg, "etc/systemd/system/vmnet-shim.socket.d/group.conf", "SocketGroup=netdev\n")

	out.Reset()
	must(t, install.Install(t.Context(), cfg))
	if out.String() != "nothing to do: everything is in place\n" || !slices.Equal(tree(t, cfg.Root), got) {
		t.Errorf("the second time: %s", &out)
	}
	// What is not asked for any more goes.
	cfg.Tap, cfg.Links = false, false
	must(t, install.Install(t.Context(), cfg))
	if now := tree(t, cfg.Root); has(now, "usr/local/bin/socket_vmnet") || has(now, "etc/systemd/system/vmnet-shim.service.d/tap.conf") {
		t.Errorf("left from before: %s", strings.Join(now, "\n"))
	}
	must(t, install.Uninstall(t.Context(), cfg))
	if now := tree(t, cfg.Root); !slices.Equal(now, before) {
		t.Errorf("after uninstall:\n%s", strings.Join(now, "\n"))
	}
	out.Reset()
	must(t, install.Uninstall(t.Context(), cfg))
	if !strings.HasPrefix(out.String(), "nothing to do: ") {
		t.Errorf("uninstall again: %s", &out)
	}
}

func contains(t *testing.T, cfg install.Config, name, want string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(cfg.Root, name))
	must(t, err)
	if !strings.Contains(string(data), want) {
		t.Errorf("%s: no %q in\n%s", name, want, data)
	}
}

// TestInstallDarwin signs, and chooses between daemon and agent by the version.
func TestInstallDarwin(t *testing.T) {
	for _, tt := range []struct {
		macOS      int
		want, none string
	}{
		{15, "Library/LaunchDaemons/" + install.Label + ".plist", "Library/LaunchAgents"},
		{26, "Library/LaunchAgents/" + install.Label + ".plist", "Library/LaunchDaemons"},
	} {
		var out strings.Builder
		cfg := config(t, &out)
		cfg.OS, cfg.MacOS = "darwin", tt.macOS
		cfg.Entitle = func(_ context.Context, path string, entitlements []byte) error {
			if !strings.Contains(string(entitlements), "com.apple.security.virtualization") {
				return errors.New("the wrong entitlements")
			}
			return os.WriteFile(path, []byte("signed"), 0o755)
		}
		must(t, install.Install(t.Context(), cfg))
		got := tree(t, cfg.Root)
		if !has(got, tt.want) || has(got, tt.none) {
			t.Errorf("macOS %d: %s", tt.macOS, strings.Join(got, "\n"))
		}
		contains(t, cfg, "opt/vmnet/bin/vmnet-shim", "signed")
		contains(t, cfg, tt.want, "/opt/vmnet/bin/vmnet-shim")
		out.Reset()
		must(t, install.Install(t.Context(), cfg))
		if !strings.HasPrefix(out.String(), "nothing to do") {
			t.Errorf("macOS %d, the second time: %s", tt.macOS, &out)
		}
		must(t, install.Uninstall(t.Context(), cfg))
		if got := tree(t, cfg.Root); len(got) != 1 {
			t.Errorf("macOS %d: left %v", tt.macOS, got)
		}
	}
}

// TestForeign leaves what others put there, before and after.
func TestForeign(t *testing.T) {
	var out strings.Builder
	cfg := config(t, &out)
	cfg.Links = true
	theirs := filepath.Join(cfg.Root, "usr/local/bin/socket_vmnet")
	must(t, os.MkdirAll(filepath.Dir(theirs), 0o755))
	must(t, os.WriteFile(theirs, []byte("the real one"), 0o755))
	before := tree(t, cfg.Root)
	err := install.Install(t.Context(), cfg)
	if err == nil || !strings.Contains(err.Error(), theirs+": is there already") {
		t.Fatalf("error %v", err)
	}
	if now := tree(t, cfg.Root); !slices.Equal(now, before) {
		t.Fatalf("half done: %v", now)
	}
	must(t, os.Remove(theirs))
	must(t, install.Install(t.Context(), cfg))
	changed := filepath.Join(cfg.Root, "etc/systemd/system/vmnet-shim.service")
	must(t, os.WriteFile(changed, []byte("[Service]\n"), 0o644))
	if err := install.Install(t.Context(), cfg); err == nil {
		t.Error("a unit that was changed was overwritten")
	}
	if err := install.Uninstall(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), changed+": was changed") {
		t.Errorf("error %v", err)
	}
	cfg.Force = true
	must(t, install.Uninstall(t.Context(), cfg))
	if now := tree(t, cfg.Root); has(now, "etc") || has(now, "opt") {
		t.Errorf("left: %s", strings.Join(now, "\n"))
	}
}

// TestCommands are those of a live system, and a failure stops what follows.
func TestCommands(t *testing.T) {
	for _, tt := range []struct {
		os   string
		mac  int
		want string
	}{
		{"linux", 0, "systemctl daemon-reload,systemctl enable --now vmnet-shim.socket,systemctl try-reload-or-restart vmnet-shim.service"},
		{"darwin", 15, "launchctl bootstrap system /Library/LaunchDaemons/LABEL.plist"},
		{"darwin", 26, ""},
	} {
		var out strings.Builder
		cfg := config(t, &out)
		root := cfg.Root
		cfg.OS, cfg.MacOS = tt.os, tt.mac
		var ran []string
		cfg.Managed = func() bool { return true }
		cfg.Run = func(_ context.Context, name string, args ...string) error {
			line := name + " " + strings.Join(args, " ")
			line = strings.ReplaceAll(line, "/Library/LaunchDaemons/"+install.Label+".plist", "PLIST")
			ran = append(ran, strings.ReplaceAll(line, install.Label, "LABEL"))
			return nil
		}
		// A dry run of the real root: nothing is written, and commands are only told.
		cfg.Root, cfg.DryRun = "", true
		cfg.Prefix, cfg.CNIBin = filepath.Join(root, "p"), filepath.Join(root, "c")
		must(t, install.Install(t.Context(), cfg))
		if len(ran) > 0 {
			t.Errorf("%s: a dry run ran %v", tt.os, ran)
		}
		for c := range strings.SplitSeq(tt.want, ",") {
			if c = strings.ReplaceAll(c, "LABEL", install.Label); !strings.Contains(out.String(), c) {
				t.Errorf("%s %d: no %q in\n%s", tt.os, tt.mac, c, &out)
			}
		}
	}
}

func TestBadConfig(t *testing.T) {
	for want, cfg := range map[string]install.Config{
		"install on plan9":             {OS: "plan9"},
		`--prefix "x": want an absol`:  {OS: "linux", Prefix: "x"},
		"--tap: driver tap on darwin:": {OS: "darwin", Tap: true},
	} {
		if err := install.Install(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

// TestUnits has systemd judge the units, as they are installed.
func TestUnits(t *testing.T) {
	analyze := require.Tool(t, "systemd-analyze")
	var out strings.Builder
	cfg := config(t, &out)
	root := cfg.Root
	for _, more := range []bool{false, true} {
		cfg.Tap, cfg.Root, cfg.Prefix = more, root, root // a prefix that is there for the verifier
		if more {
			cfg.Group = "root"
		}
		must(t, os.MkdirAll(filepath.Join(root, "bin"), 0o755))
		must(t, os.WriteFile(filepath.Join(root, "bin/vmnet-shim"), []byte("#!/bin/sh\n"), 0o755))
		must(t, install.Install(t.Context(), cfg))
		dir := filepath.Join(root, "etc/systemd/system")
		cmd := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", dir+"/vmnet-shim.socket", dir+"/vmnet-shim.service")
		if msg, err := cmd.CombinedOutput(); err != nil || strings.Contains(string(msg), "vmnet-shim") {
			t.Errorf("tap and group %v: %v: %s", more, err, msg)
		}
		if more {
			continue
		}
		cmd = exec.CommandContext(t.Context(), analyze, "security", "--offline=true", "--threshold=25", dir+"/vmnet-shim.service")
		if msg, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("exposure: %v: %s", err, msg)
		}
	}
}
