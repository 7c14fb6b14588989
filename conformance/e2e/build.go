package e2e

import (
	"fmt"
	"os"
	"os/exec"

	"github.com/vmnet-cni/vmnet/internal/tempdir"
)

// Build builds the plugin and the shim, and whatever other packages are named,
// into a new directory that every user can read. race asks for the race
// detector, which needs a C compiler. The caller calls remove.
func Build(race bool, more ...string) (dir string, remove func(), err error) {
	if dir, err = tempdir.Make("vmnet-bin-"); err != nil {
		return "", nil, err
	}
	remove = func() { _ = os.RemoveAll(dir) }
	args := []string{"build", "-o", dir}
	if race {
		args = append(args, "-race")
	}
	args = append(args, "github.com/vmnet-cni/vmnet/plugins/vmnet", "github.com/vmnet-cni/vmnet/cmd/vmnet-shim")
	out, err := exec.Command("go", append(args, more...)...).CombinedOutput()
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		remove()
		return "", nil, fmt.Errorf("go build: %w: %s", err, out)
	}
	return dir, remove, nil
}
