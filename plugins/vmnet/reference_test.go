package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// Programs of others that tests run, and their versions.
var reference = map[string]string{
	"host-local": "github.com/containernetworking/plugins/plugins/ipam/host-local@v1.9.1",
	"static":     "github.com/containernetworking/plugins/plugins/ipam/static@v1.9.1",
	"noop":       "github.com/containernetworking/cni/plugins/test/noop@v1.3.1",
	"cnitool":    "github.com/containernetworking/cni/cnitool@v1.3.1",
}

// referenceBin builds them with "go install", which changes no go.mod, into a
// directory of the user's cache that later runs find again.
var referenceBin = sync.OnceValues(func() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "vmnet-test", "cni-1.3.1-plugins-1.9.1")
	for name, pkg := range reference {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, "go", "install", pkg)
		cmd.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=", "GOWORK=off", "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("go install %s: %w: %s", pkg, err, out)
		}
	}
	return dir, nil
})

// needReference returns the directory of the programs. Without the module proxy
// the test is skipped, unless VMNET_REQUIRE has "proxy".
func needReference(t testing.TB) string {
	t.Helper()
	dir, err := referenceBin()
	if err == nil {
		return dir
	}
	offline := strings.Contains(err.Error(), "dial tcp") || strings.Contains(err.Error(), "GOPROXY=off")
	if _, lookup := net.LookupHost("proxy.golang.org"); !offline || strings.Contains(os.Getenv("VMNET_REQUIRE"), "proxy") {
		t.Fatalf("%v (lookup of proxy.golang.org: %v)", err, lookup)
	}
	t.Skipf("this test needs programs from the module proxy: %v", err)
	return ""
}
