package framework_test

import (
	"os"
	"os/exec"
	"testing"

	"github.com/vmnet-cni/vmnet/conformance/libvmnet"
	"github.com/vmnet-cni/vmnet/pkg/vmnet/framework"
)

// TestAddressSanitizer runs other tests again in a process whose library has the
// address sanitizer, and whose garbage collector runs at every opportunity: C
// would be caught using memory that Go or C has given back, or beyond its end.
func TestAddressSanitizer(t *testing.T) {
	if raceEnabled {
		t.Skip("one sanitizer at a time")
	}
	if os.Getenv(framework.LibraryEnv) != "" {
		t.Skipf("%s names a library already", framework.LibraryEnv)
	}
	lib := libvmnet.Build(t, libvmnet.Config{Sanitize: true})
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	tests := "^(TestSuite|TestCycles|TestEventsUnderGC|TestCloseUnderFlood|TestTransfer|TestStartStatus|TestOptions|TestForwards|TestOffload|TestJoin)$" +
		"/^(logical|260000|60|checksums|virtio_header)$"
	cmd := exec.Command(self, "-test.count=1", "-test.v", "-test.run="+tests)
	cmd.Env = append(os.Environ(), append(lib.Env, framework.LibraryEnv+"="+lib.Path, "GOGC=1")...)
	text, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, text)
	}
}
