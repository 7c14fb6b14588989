package cni_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/conformance/cni"
	"github.com/vmnet-cni/vmnet/conformance/cni/internal/mutant"
	"github.com/vmnet-cni/vmnet/internal/leak"
	"github.com/vmnet-cni/vmnet/internal/tempdir"
)

// built are the programs that the tests execute.
var built struct{ dir, mutant, double, command string }

// TestMain builds the programs once. The test binary is the hooks of vmnet's
// target too.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && strings.HasPrefix(os.Args[1], "vmnet-") {
		os.Exit(vmnetHook(os.Args[1]))
	}
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	// Most of the time a judgement waits, for time limits and for the plugin, so
	// more of them than there are processors run at once.
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil {
		return 1, err
	}
	if built.dir, err = tempdir.Make("cnitest"); err != nil {
		return 1, err
	}
	defer func() { _ = os.RemoveAll(built.dir) }()
	built.mutant = filepath.Join(built.dir, mutant.Type)
	built.double = filepath.Join(built.dir, "double")
	built.command = filepath.Join(built.dir, "cni-conformance")
	for out, pkg := range map[string]string{
		built.mutant: "./internal/mutant/cmd", built.double: "./internal/double/cmd", built.command: "./cmd/cni-conformance",
	} {
		if err := build(out, pkg); err != nil {
			return 1, err
		}
	}
	code = m.Run()
	if code == 0 {
		err = leak.Find()
	}
	return code, err
}

func build(out, pkg string) error {
	if text, err := exec.Command("go", "build", "-o", out, pkg).CombinedOutput(); err != nil {
		return fmt.Errorf("go build %s: %w: %s", pkg, err, text)
	}
	return nil
}

// mutantConfig has all that the checks can use.
const mutantConfig = `{
  "cniVersion": "1.1.0", "name": "conf", "type": "mutant", "subnet": "10.77.@N@.0/24",
  "capabilities": {"mac": true, "ips": true, "dns": true, "portMappings": true, "bandwidth": true}
}`

// mutantTarget returns the mutant plugin with a fault, or none.
func mutantTarget(t *testing.T, fault string) cni.Target {
	t.Helper()
	dir, err := tempdir.Make("m") // a short path, since sockets are in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return cni.Target{
		Plugin: built.mutant, Config: []byte(mutantConfig), Double: built.double,
		Env:  []string{mutant.DirEnv + "=" + dir, mutant.FaultEnv + "=" + fault},
		Dirs: []string{dir}, Ignore: []string{"lock", "daemon", "link *"},
		Drift: built.mutant + " drift", Bad: []string{`{"mtu": "x"}`}, Small: `{"subnet": "10.78.0.0/29"}`,
		Timeout: 6 * time.Second,
	}
}

func writeFile(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
}
