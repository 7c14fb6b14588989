//go:build !unix

package boltstore

import (
	"errors"
	"fmt"
	"os"
	"runtime"
)

// tryLock is not there without flock(2).
func tryLock(*os.File) (bool, error) {
	return false, fmt.Errorf("lock on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
