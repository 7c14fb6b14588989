package server_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// The test binary plays two other programs, chosen by the environment: a shim
// that can be killed, and a client of another user.
const roleEnv = "SERVER_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(roleEnv) {
	case "":
		goleak.VerifyTestMain(m)
	case "serve":
		os.Exit(playShim())
	case "client":
		os.Exit(playClient(os.Args[1:]))
	}
}
