package framework_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/vmnet-cni/vmnet/internal/leak"
)

func TestMain(m *testing.M) {
	if how, ok := os.LookupEnv(relayEnv); ok {
		fmt.Fprintln(os.Stderr, "relay:", beRelay(how))
		os.Exit(1)
	}
	leak.Main(m, nil)
}
