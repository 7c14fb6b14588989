//go:build amd64 || arm64

package framework

import (
	"errors"
	"fmt"
	"os"
)

// libraries returns the one library that stands in for the framework.
func libraries() (map[string]string, error) {
	path := os.Getenv(LibraryEnv)
	if path == "" {
		return nil, fmt.Errorf("driver vmnet: no vmnet.framework on linux, and %s names no library with its ABI: %w", LibraryEnv, errors.ErrUnsupported)
	}
	return oneLibrary(path), nil
}
