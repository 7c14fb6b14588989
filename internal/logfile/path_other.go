//go:build !linux && !darwin

package logfile

import (
	"errors"
	"fmt"
	"os"
	"runtime"
)

func pathOf(*os.File) (string, error) {
	return "", fmt.Errorf("path of an open file on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
