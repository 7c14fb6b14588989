//go:build !linux && !darwin

package server

import (
	"errors"
	"fmt"
	"runtime"
)

func socketPeerUID(int) (uint32, error) {
	return 0, fmt.Errorf("peer credentials on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
