//go:build !linux

package cni

import (
	"errors"
	"fmt"
	"runtime"
)

func newNetNS() (domains, error) {
	return nil, fmt.Errorf("network namespaces on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
