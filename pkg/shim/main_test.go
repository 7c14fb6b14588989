package shim_test

import (
	"os"
	"testing"

	"github.com/vmnet-cni/vmnet/internal/leak"
)

// The test binary plays three other programs, chosen by the environment: the
// shim that Ensure starts, a caller of Ensure, and a shim that cannot start.
const roleEnv = "SHIM_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(roleEnv) {
	case "":
		leak.Main(m, nil)
	case "ensure":
		os.Exit(playCaller())
	default:
		os.Exit(playShim(os.Getenv(roleEnv)))
	}
}
