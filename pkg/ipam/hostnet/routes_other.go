//go:build !linux && !darwin

package hostnet

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
)

// routes says that this system has no known way to ask.
func routes() ([]netip.Prefix, error) {
	return nil, fmt.Errorf("on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
