//go:build !linux

package relay

import (
	"errors"
	"fmt"
	"os"
	"runtime"
)

func newTapPort(f *os.File, _ int) (Port, error) {
	if f != nil {
		_ = f.Close() // owned, and of no use
	}
	return nil, fmt.Errorf("no tap interfaces on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
