//go:build !linux && !darwin

package shim

import (
	"errors"
	"fmt"
	"runtime"
)

func peerUID(int) (uint32, error) {
	return 0, fmt.Errorf("peer credentials on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
