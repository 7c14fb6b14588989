package cni

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// opaque gives names of machines, which only the runtime understands.
type opaque struct{ work string }

const opaqueScheme = "vm://"

func (opaque) create(name string) (string, error) { return opaqueScheme + name, nil }

// file makes a plain file, which is a path that can go.
func (o opaque) file(name string) (string, error) {
	path := filepath.Join(o.work, name)
	return path, os.WriteFile(path, nil, 0o600)
}

func (opaque) destroy(ref string) error {
	if strings.HasPrefix(ref, opaqueScheme) {
		return nil
	}
	if err := os.Remove(ref); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (opaque) state() netState { return nil }
