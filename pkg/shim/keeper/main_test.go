package keeper_test

import (
	"os"
	"testing"

	"github.com/vmnet-cni/vmnet/internal/leak"
)

// The test binary plays the shim when roleEnv is set.
const roleEnv = "KEEPER_TEST_ROLE"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleEnv); role != "" {
		os.Exit(playShim(role))
	}
	leak.Main(m, nil)
}
