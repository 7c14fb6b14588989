package server_test

import (
	"os"
	"testing"

	"github.com/vmnet-cni/vmnet/internal/leak"
)

// The test binary plays other programs, chosen by the environment: a shim that can
// be killed, a client of another user, and a runtime that attaches natively.
const roleEnv = "SERVER_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(roleEnv) {
	case "":
		leak.Main(m, nil)
	case "serve":
		os.Exit(playShim())
	case "client":
		os.Exit(playClient(os.Args[1:]))
	case "hostile":
		os.Exit(playHostile(os.Args[1:]))
	case "native":
		os.Exit(playNative())
	}
}
