package cni_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmnet-cni/vmnet/conformance/cni"
	"github.com/vmnet-cni/vmnet/internal/require"
	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// tapCase is driver tap, whose bridges and rules are in a network namespace that
// the judging process has for itself (judgeApart).
var tapCase = driverCase{name: "tap", driver: "tap", capabilities: `, "aliases": true`}

// TestVMNetTap is TestVMNet over driver tap.
func TestVMNetTap(t *testing.T) {
	require.Root(t)
	require.NetNS(t)
	bin := programs(t)
	for _, domain := range []cni.DomainKind{cni.DomainOpaque, cni.DomainNetNS} {
		t.Run(string(domain), func(t *testing.T) {
			if domain != cni.DomainNetNS {
				tapCase.need(t)
			}
			t.Parallel()
			target := vmnetTarget(t, bin, tapCase)
			target.Domain = domain
			judgeApart(t, target)
		})
	}
	t.Run("frames", func(t *testing.T) { // of a machine that has the tap itself
		needAll(t)
		t.Parallel()
		d := tapCase
		d.frames = shim.FramesTap
		judgeApart(t, vmnetTarget(t, bin, d))
	})
}

// judgeApart is judge by the command, in a namespace of its own, in which links are
// counted too.
func judgeApart(t *testing.T, target cni.Target) {
	t.Helper()
	conf := filepath.Join(t.TempDir(), "conf.json")
	writeFile(t, conf, target.Config)
	args := []string{"--plugin", target.Plugin, "--config", conf, "--domain", string(target.Domain), "--dir", target.Dirs[0],
		"--ignore", "*.log", "--ignore", "pid", "--inventory", target.Inventory, "--drift", target.Drift,
		"--small", target.Small, "--timeout", target.Timeout.String(), "--output", "golden"}
	for _, kv := range target.Env {
		args = append(args, "--env", kv)
	}
	for _, bad := range target.Bad {
		args = append(args, "--bad", bad)
	}
	got := command(t, args...)
	t.Logf("%s, grade spec: %s", t.Name(), tallied(got))
	for line := range strings.Lines(got) {
		if _, verdict, _ := strings.Cut(strings.TrimSpace(line), " "); !strings.HasPrefix(verdict, "pass") && !strings.HasPrefix(line, "#") {
			t.Error(line)
		}
	}
}
