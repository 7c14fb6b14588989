//go:build !((darwin || linux) && (amd64 || arm64))

package framework

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

func newDriver(Config) (vmnet.Driver, error) {
	return nil, fmt.Errorf("driver vmnet: no vmnet.framework on %s/%s: %w", runtime.GOOS, runtime.GOARCH, errors.ErrUnsupported)
}
