//go:build !linux

package main

// isNamespace is false: only Linux has network namespaces.
func isNamespace(string) bool { return false }
