//go:build !linux

package handover

// isTap is false: only Linux has tap interfaces with an fd of their own.
func isTap(int) bool { return false }

// isNetNS is false: only Linux has network namespaces.
func isNetNS(int) bool { return false }
