package main

import (
	"testing"

	"github.com/vmnet-cni/vmnet/internal/reference"
)

// needReference returns a directory with programs of others that tests run. Without
// the module proxy the test is skipped, unless VMNET_REQUIRE has "proxy".
func needReference(t testing.TB) string {
	t.Helper()
	return reference.Install(t, reference.CNITool,
		reference.Plugins+"ipam/host-local"+reference.Version, reference.Plugins+"ipam/static"+reference.Version,
		"github.com/containernetworking/cni/plugins/test/noop@v1.3.1")
}
