package libvmnet

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/vmnet-cni/vmnet/internal/tempdir"
)

// BrokerEnv names the variable by which the library finds its broker.
const BrokerEnv = "LIBVMNET_BROKER"

// StartBroker starts a broker, the part of macOS' daemon, until the test ends, and
// returns what a process needs in its environment to join its networks. More
// variables for the broker itself may be given in env, "LIBVMNET_TEST=dhcp=0".
func StartBroker(t testing.TB, lib Library, env ...string) string {
	t.Helper()
	dir, err := tempdir.Make("lvbroker-") // short: a socket's path has 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "s")
	cmd := exec.Command(lib.Broker, path)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start broker: %v", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		os.RemoveAll(dir)
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatalf("broker %s: wait for ready: %q: %v", path, line, err)
	}
	return BrokerEnv + "=" + path
}
