//go:build !linux

package e2e_test

import (
	"testing"

	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/vmnet-cni/vmnet/conformance/e2e"
	"github.com/vmnet-cni/vmnet/internal/require"
	"github.com/vmnet-cni/vmnet/pkg/relay"
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

// contain skips the test: a container is a namespace of Linux.
func contain(t testing.TB, _ *e2e.Machine, _ string) (relay.Port, *types100.Result) {
	require.Linux(t)
	return nil, nil
}
