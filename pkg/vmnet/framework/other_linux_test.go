package framework_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/vmnet-cni/vmnet/conformance/libvmnet"
	"github.com/vmnet-cni/vmnet/pkg/vmnet/framework"
)

// TestOtherLibrary runs other tests again with a library that has the ABI and
// nothing else: another maker's. Tests that need controls skip there.
func TestOtherLibrary(t *testing.T) {
	if os.Getenv(framework.LibraryEnv) != "" {
		t.Skipf("%s names a library already", framework.LibraryEnv)
	}
	lib := libvmnet.Build(t, libvmnet.Config{NoControls: true})
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.count=1", "-test.v", "-test.run=^(TestSuite|TestCycles|TestOffload|TestJoin)$/^(logical|classic_on_26|checksums)$")
	cmd.Env = append(os.Environ(), framework.LibraryEnv+"="+lib.Path)
	text, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, text)
	}
	for _, want := range []string{"--- PASS: TestSuite/logical/", "--- PASS: TestSuite/classic_on_26/", "--- PASS: TestCycles/logical"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the output does not say %q:\n%s", want, text)
		}
	}
}
