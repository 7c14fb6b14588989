//go:build !linux

package require

import (
	"errors"
	"fmt"
	"runtime"
)

func netNS() error {
	return fmt.Errorf("network namespaces on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

func userNS() error {
	return fmt.Errorf("user namespaces on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
