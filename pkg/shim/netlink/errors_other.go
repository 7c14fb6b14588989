//go:build !linux

package netlink

import (
	"errors"
	"fmt"
	"runtime"
)

// A missing error says that a function is not there on this system.
type missing struct{ name string }

// notImplemented returns the error of a function that this system has not. It
// wraps ErrNotImplemented, as callers of upstream expect, and
// errors.ErrUnsupported.
func notImplemented(name string) error { return missing{name} }

func (m missing) Error() string {
	return fmt.Sprintf("%s on %s: %v", m.name, runtime.GOOS, ErrNotImplemented)
}

func (missing) Unwrap() []error { return []error{ErrNotImplemented, errors.ErrUnsupported} }
