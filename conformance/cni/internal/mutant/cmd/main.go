// Command cmd is the mutant plugin.
package main

import (
	"os"

	"github.com/vmnet-cni/vmnet/conformance/cni/internal/mutant"
)

func main() { os.Exit(mutant.Main()) }
