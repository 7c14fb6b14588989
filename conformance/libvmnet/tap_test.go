package libvmnet_test

import (
	"os/exec"
	"testing"

	"github.com/vmnet-cni/vmnet/conformance/libvmnet"
	"github.com/vmnet-cni/vmnet/internal/require"
)

// TestTap lets the kernel be the host's end of a network, in a network namespace
// of its own.
func TestTap(t *testing.T) {
	require.NetNS(t)
	require.Tool(t, "ip")
	unshare := require.Tool(t, "unshare")
	const script = `set -e
ip link set lo up
ip tuntap add dev lvtap0 mode tap
ip addr add 192.168.64.1/24 dev lvtap0
ip link set lvtap0 up
exec "$0" role_tap`
	for _, sanitize := range []bool{false, true} {
		lib := libvmnet.Build(t, libvmnet.Config{Sanitize: sanitize})
		cmd := exec.Command(unshare, "--net", "sh", "-c", script, lib.Tests)
		cmd.Env = cleanEnv("LIBVMNET_TAP=lvtap0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
}
