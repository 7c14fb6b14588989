package cni_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/internal/reference"
	"github.com/vmnet-cni/vmnet/internal/require"
)

// goldens are the reference plugins, each with a configuration that is good for
// it. DIR becomes a directory of the test's.
func goldens() []golden {
	return []golden{
		{name: "bridge+host-local", plugin: "bridge", domain: "netns", small: `{"ipam":{"subnet":"10.92.0.0/29"},"bridge":"cfsmall"}`, args: []string{"--bad", `{"mtu":"x"}`},
			config: `{"cniVersion":"1.1.0","name":"golden","type":"bridge","bridge":"cfbr@N@","isGateway":true,
				"ipam":{"type":"host-local","dataDir":"DIR","subnet":"10.91.@N@.0/24"},"capabilities":{"mac":true,"ips":true}}`},
		{name: "bridge", plugin: "bridge", domain: "netns", args: []string{"--bad", `{"mtu":"x"}`},
			config: `{"cniVersion":"1.1.0","name":"golden","type":"bridge","bridge":"cfl2-@N@","capabilities":{"mac":true}}`},
		{name: "ptp+host-local", plugin: "ptp", domain: "netns", small: `{"ipam":{"subnet":"10.92.0.0/29"}}`, args: []string{"--bad", `{"mtu":"x"}`},
			config: `{"cniVersion":"1.1.0","name":"golden","type":"ptp",
				"ipam":{"type":"host-local","dataDir":"DIR","subnet":"10.93.@N@.0/24"}}`},
		{name: "loopback", plugin: "loopback", domain: "netns", args: []string{"--kind", "adjust", "--ifname", "lo"},
			config: `{"cniVersion":"1.1.0","name":"golden","type":"loopback"}`},
		{name: "host-local", plugin: "host-local", domain: "opaque", small: `{"ipam":{"subnet":"10.92.0.0/29"}}`,
			args: []string{"--kind", "ipam", "--bad", `{"ipam":{"subnet":"x"}}`},
			config: `{"cniVersion":"1.1.0","name":"golden","type":"host-local",
				"ipam":{"type":"host-local","dataDir":"DIR","subnet":"10.94.@N@.0/24"},"capabilities":{"ips":true,"ipRanges":true}}`},
	}
}

type golden struct {
	name, plugin, domain, config, small string
	args                                []string
}

// TestGolden judges the reference plugins, whose faults are known, in a network
// namespace of their own, by the command. With UPDATE_GOLDEN
// set, the files are written anew.
func TestGolden(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	require.Root(t)
	require.NetNS(t)
	bin := referencePlugins(t)
	for _, g := range goldens() {
		t.Run(g.name, func(t *testing.T) {
			t.Parallel()
			got := g.judge(t, bin)
			file := filepath.Join("testdata", "golden", g.name+".txt")
			if os.Getenv("UPDATE_GOLDEN") != "" {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
				t.Errorf("judgement differs (- golden, + now):\n%s", diff)
				return
			}
			t.Logf("%s of containernetworking/plugins: %s, as %s has them", g.name, tallied(got), file)
		})
	}
}

func (g golden) judge(t *testing.T, bin string) string {
	dir := t.TempDir()
	conf := filepath.Join(t.TempDir(), "conf.json")
	if err := os.WriteFile(conf, []byte(strings.ReplaceAll(g.config, "DIR", dir)), 0o600); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"--plugin", filepath.Join(bin, g.plugin), "--config", conf, "--domain", g.domain, "--dir", dir,
		"--output", "golden", "--timeout", "30s", "--kills", "5", "--small", g.small}, g.args...)
	got := command(t, args...)
	// host-local writes who has an address after it has taken it: a kill in the
	// microseconds between leaves it taken, which is no news and not the rule.
	for range 2 {
		if !strings.Contains(got, "\nE13 fail left behind: file\n") {
			break
		}
		again := command(t, append(args, "--run", "E13")...)
		got = strings.Replace(got, "E13 fail left behind: file\n", again, 1)
	}
	return got
}

// command runs the built command in a network namespace of its own.
func command(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), built.command, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNET}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var ee *exec.ExitError
	if err != nil && (!errors.As(err, &ee) || ee.ExitCode() != 1) {
		t.Fatalf("%s: %v: %s", strings.Join(args, " "), err, &stderr)
	}
	return string(out)
}

// referencePlugins builds the plugins from the module proxy.
func referencePlugins(t *testing.T) string {
	t.Helper()
	var list []string
	for _, pkg := range []string{"main/bridge", "main/ptp", "main/loopback", "ipam/host-local"} {
		list = append(list, reference.Plugins+pkg+reference.Version)
	}
	return reference.Install(t, list...)
}

// tallied counts the lines of golden output.
func tallied(golden string) tally {
	n := tally{}
	for line := range strings.Lines(golden) {
		if f := strings.Fields(line); len(f) > 1 {
			n[f[1]]++
		}
	}
	return n
}
