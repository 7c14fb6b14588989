//go:build !linux

package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
)

func runNAT(context.Context, options, *report) error { return notHere("network namespaces") }

func runQEMU(context.Context, options, *report) error { return notHere("network namespaces") }

func runForward([]string) error { return notHere("taps") }

func notHere(what string) error {
	return fmt.Errorf("%s on %s: %w", what, runtime.GOOS, errors.ErrUnsupported)
}
