package main

import "golang.org/x/sys/unix"

// isNamespace reports whether path is a namespace: only those are on nsfs
// (namespaces(7)).
func isNamespace(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Type == unix.NSFS_MAGIC
}
