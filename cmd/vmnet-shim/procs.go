package main

import (
	"os"
	"runtime"
)

// leastProcs is how many of Go's processors the shim has at least, whatever the
// machine has. A thread of libdispatch that has called Go keeps one until the
// runtime's monitor takes it away, 20 µs to 10 ms later; with two of them, the
// goroutine that reads from the guest was seen to wait for that: round trips fell
// from 30,000 a second to 3,000. Idle ones cost nothing.
const leastProcs = 4

// raiseProcs sees to leastProcs, unless the user chose with GOMAXPROCS.
func raiseProcs() {
	if n := runtime.GOMAXPROCS(0); os.Getenv("GOMAXPROCS") == "" && n < leastProcs {
		runtime.GOMAXPROCS(leastProcs)
	}
}
