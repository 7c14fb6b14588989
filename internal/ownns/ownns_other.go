//go:build !linux

package ownns

import (
	"testing"

	"github.com/vmnet-cni/vmnet/internal/require"
)

// Enter does nothing: there are no namespaces.
func Enter() {}

// Needs skips the test.
func Needs(t testing.TB) {
	t.Helper()
	require.Linux(t)
}
