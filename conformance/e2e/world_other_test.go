//go:build !linux

package e2e_test

import (
	"testing"

	"github.com/vmnet-cni/vmnet/internal/require"
)

// framework skips the test: the library with the framework's ABI is for Linux.
func framework(t testing.TB, _ int) *world {
	require.Linux(t)
	return nil
}

// kernel skips the test: driver tap is for Linux.
func kernel(t testing.TB) *world {
	require.Linux(t)
	return nil
}
