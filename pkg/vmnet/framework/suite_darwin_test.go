package framework_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/ebitengine/purego"

	"github.com/vmnet-cni/vmnet/internal/require"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
	"github.com/vmnet-cni/vmnet/pkg/vmnet/framework"
	"github.com/vmnet-cni/vmnet/pkg/vmnet/vmnettest"
)

// TestSuite runs the contract of package vmnet on the real framework, as root or
// in a signed test binary (packaging/macos/run-signed).
func TestSuite(t *testing.T) {
	for _, c := range []struct {
		name    string
		cfg     framework.Config
		network vmnet.NetworkConfig
	}{
		{"newest", framework.Config{}, vmnet.NetworkConfig{}},
		{"newest host", framework.Config{}, vmnet.NetworkConfig{Mode: vmnet.Host}},
		{"classic", framework.Config{Classic: true}, vmnet.NetworkConfig{}},
		{"classic host", framework.Config{Classic: true}, vmnet.NetworkConfig{Mode: vmnet.Host}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.cfg.Log = t.Logf
			d, err := framework.New(c.cfg)
			if err != nil {
				t.Fatal(err)
			}
			c.network.Name = "suite-" + c.name
			privileged(t, d, c.network)
			vmnettest.TestDriver(t, vmnettest.Harness{Driver: d, Network: c.network})
		})
	}
}

// privileged skips the test when the framework refuses this process for want of
// privilege, and fails it where VMNET_REQUIRE lists "vmnet".
func privileged(t *testing.T, d vmnet.Driver, cfg vmnet.NetworkConfig) {
	t.Helper()
	i, err := vmnet.Start(context.Background(), d, cfg, vmnet.Config{})
	if err == nil {
		err = i.Close()
	}
	switch {
	case err == nil:
	case errors.Is(err, vmnet.ErrPermission) && !slices.Contains(strings.Split(os.Getenv(require.Env), ","), "vmnet"):
		t.Skip(err)
	default:
		t.Fatal(err)
	}
}

// TestSystemSymbols tells which symbols this macOS does not have.
func TestSystemSymbols(t *testing.T) {
	paths := map[string]string{
		"vmnet":          "/System/Library/Frameworks/vmnet.framework/vmnet",
		"System":         "/usr/lib/libSystem.B.dylib",
		"CoreFoundation": "/System/Library/Frameworks/CoreFoundation.framework/CoreFoundation",
	}
	for _, s := range framework.Symbols() {
		h, err := purego.Dlopen(paths[s.Library], purego.RTLD_LAZY|purego.RTLD_LOCAL)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := purego.Dlsym(h, s.Name); err != nil {
			t.Logf("%s (macOS %s) is not there", s.Name, s.Since)
			if s.Required {
				t.Errorf("%s is required", s.Name)
			}
		}
	}
}

// TestBridgeable lists the uplinks, which needs no privilege.
func TestBridgeable(t *testing.T) {
	d, err := framework.New(framework.Config{Log: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	names, err := d.(vmnet.BridgeLister).BridgeableInterfaces(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("uplinks: %q", names)
}
