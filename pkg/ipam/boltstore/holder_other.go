//go:build !linux

package boltstore

import "os"

// holder says which process has the lock of f; outside Linux nobody tells.
func holder(*os.File) string { return ": another process, perhaps another shim, has it" }
