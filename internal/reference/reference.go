// Package reference gives tests programs of other projects, built from the module
// proxy beside this module's own requirements, once for all runs.
package reference

import (
	"context"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/vmnet-cni/vmnet/internal/require"
)

// The releases that this project is compared with.
const (
	Plugins = "github.com/containernetworking/plugins/plugins/" // and main/bridge, ipam/host-local, …
	Version = "@v1.9.1"                                         // of Plugins
	CNITool = "github.com/containernetworking/cni/cnitool@v1.3.1"
)

// installing keeps tests of one process from building the same twice.
var installing sync.Mutex

// Install builds packages, each with its version as "example.org/cmd@v1.0.0", and
// returns the directory with the programs. It skips the test when the proxy cannot
// be reached, or fails it when VMNET_REQUIRE names "proxy".
func Install(t testing.TB, packages ...string) (dir string) {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(cache, "vmnet-reference")
	installing.Lock()
	defer installing.Unlock()
	for _, pkg := range packages {
		install(t, dir, pkg)
	}
	return dir
}

func install(t testing.TB, dir, pkg string) {
	t.Helper()
	name, version, _ := strings.Cut(path.Base(pkg), "@")
	// The name of the mark has the version, so that a newer one is built.
	mark := filepath.Join(dir, "."+name+"-"+version)
	if _, err := os.Stat(mark); err == nil {
		return
	}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "go", "install", "-trimpath", "-ldflags=-s -w", pkg)
	cmd.Env = append(os.Environ(), "GOBIN="+dir, "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		offline := strings.Contains(string(out), "dial tcp") || strings.Contains(string(out), "GOPROXY=off")
		if offline && !slices.Contains(strings.Split(os.Getenv(require.Env), ","), "proxy") {
			t.Skipf("the module proxy cannot be reached: %s", out)
		}
		t.Fatalf("go install %s: %v: %s", pkg, err, out)
	}
	if err := os.WriteFile(mark, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}
