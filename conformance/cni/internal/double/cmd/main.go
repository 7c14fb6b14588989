// Command cmd is the doubles' program, for tests whose own binary is not one.
package main

import (
	"fmt"
	"os"

	"github.com/vmnet-cni/vmnet/conformance/cni/internal/double"
)

func main() {
	code, isDouble := double.Main()
	if !isDouble {
		fmt.Fprintf(os.Stderr, "%s: want to be executed as %s or %s\n", os.Args[0], double.IPAM, double.Neighbour)
		code = 2
	}
	os.Exit(code)
}
