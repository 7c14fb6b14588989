// Package vmtest lets a test say that it boots a guest of package vm.
package vmtest

import (
	"errors"
	"testing"

	"github.com/vmnet-cni/vmnet/conformance/vm"
	"github.com/vmnet-cni/vmnet/internal/require"
)

// Need needs what a guest is made of: QEMU, Debian's cloud kernel and a static
// busybox. Their name in require.Env is "qemu".
func Need(t testing.TB) {
	t.Helper()
	require.QEMU(t)
	_, kernel := vm.FindKernel()
	_, busybox := vm.FindBusybox()
	switch err := errors.Join(kernel, busybox); {
	case errors.Is(err, vm.ErrMissing):
		require.Missing(t, "qemu", "this test boots a guest: %v", err)
	case err != nil:
		t.Fatal(err)
	}
}
