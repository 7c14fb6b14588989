package libvmnet_test

import (
	"os/exec"
	"testing"

	"github.com/vmnet-cni/vmnet/conformance/libvmnet"
	"github.com/vmnet-cni/vmnet/internal/require"
)

// forwarding makes a namespace for the host and one for the guest, whose kernel
// answers behind lvguest0, and connects to the guest's server by rules.
const forwarding = `set -e
dir=$1 client=$2
ip link set lo up
for tap in lvtap0 lvguest0; do ip tuntap add dev $tap mode tap; done
ip addr add 192.168.64.1/24 dev lvtap0
ip link set lvtap0 up
mkfifo "$dir/in"
trap 'kill $jobs 2>/dev/null || true' EXIT
await() { i=0; until grep -q . "$1"; do i=$((i+1)); test $i -lt 1500; sleep 0.02; done; }
touch "$dir/hold" "$dir/guest" "$dir/pid"
"$0" role_hold >"$dir/hold" & jobs=$!
await "$dir/hold"
"$0" role_guest <"$dir/in" >"$dir/guest" & guest=$! jobs="$jobs $!"
exec 3>"$dir/in"
await "$dir/guest"
unshare --net sh -c 'echo $$ >"$0/pid"; exec sleep 600' "$dir" 3>&- & jobs="$jobs $!"
await "$dir/pid"
pid=$(cat "$dir/pid")
ip link set lvguest0 netns $pid
nsenter -t $pid -n sh -c 'ip link set lo up; ip addr add 192.168.64.9/24 dev lvguest0; ip link set lvguest0 up'
nsenter -t $pid -n "$0" role_serve 3>&- & jobs="$jobs $!"
"$0" $client 3>&-
exec 3>&-
wait $guest`

// TestForwarding passes TCP and UDP to a guest by port forwarding rules; what
// comes from the host itself is refused, as on macOS, unless a control says else.
func TestForwarding(t *testing.T) {
	require.NetNS(t)
	require.Tool(t, "ip")
	require.Tool(t, "nsenter")
	unshare := require.Tool(t, "unshare")
	lib := libvmnet.Build(t, libvmnet.Config{})
	for _, c := range []struct{ client, controls string }{
		{"role_client", "forward.local=1"},
		{"role_refused", ""},
	} {
		cmd := exec.Command(unshare, "--net", "sh", "-c", forwarding, lib.Tests, t.TempDir(), c.client)
		cmd.Env = cleanEnv("LIBVMNET_TAP=lvtap0", "LIBVMNET_TEST="+c.controls)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", c.client, err, out)
		}
	}
}

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
