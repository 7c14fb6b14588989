package cni

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
)

// descendants returns the names of the processes that carry the session's marker
// in their environment (proc(5), /proc/pid/environ), this process's own children
// under way included. Those of other users cannot be seen.
func descendants(token string) []string {
	want := []byte(marker + "=" + token)
	entries, _ := os.ReadDir("/proc")
	var names []string
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		env, err := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
		if err != nil || !hasEntry(env, want) {
			continue
		}
		comm, err := os.ReadFile(filepath.Join("/proc", e.Name(), "comm"))
		if err == nil {
			names = append(names, string(bytes.TrimSpace(comm)))
		}
	}
	return names
}

func hasEntry(environ, want []byte) bool {
	for kv := range bytes.SplitSeq(environ, []byte{0}) {
		if bytes.Equal(kv, want) {
			return true
		}
	}
	return false
}
