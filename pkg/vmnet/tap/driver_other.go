//go:build !linux

package tap

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// A system has nothing here.
type system struct{}

func newSystem(string) system { return system{} }

func (d *Driver) open(context.Context, vmnet.NetworkInfo) (vmnet.Network, error) {
	return nil, fmt.Errorf("driver tap on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

// sweep finds nothing: nothing was made.
func (d *Driver) sweep(context.Context) error { return nil }
