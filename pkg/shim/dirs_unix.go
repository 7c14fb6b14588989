//go:build unix

package shim

import (
	"io/fs"
	"syscall"
)

// fileOwner returns the user ID of a file's owner, or -1 when the system does
// not tell.
func fileOwner(fi fs.FileInfo) int {
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return int(st.Uid)
	}
	return -1
}
