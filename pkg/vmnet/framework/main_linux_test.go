package framework_test

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if how, ok := os.LookupEnv(relayEnv); ok {
		fmt.Fprintln(os.Stderr, "relay:", beRelay(how))
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}
