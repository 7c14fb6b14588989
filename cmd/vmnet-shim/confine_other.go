//go:build !linux

package main

import (
	"errors"
	"fmt"
	"runtime"
)

// startAgain does nothing here. macOS up to 15 gives vmnet interfaces to root only,
// and what becomes of them when a process stops being root is not documented.
func (c confinement) startAgain() error { return c.apply() }

func (confinement) apply() error {
	return fmt.Errorf("confine on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

func socketOf(int) string { return "" }

func (*serveFlags) caps() uint32 { return 0 }
