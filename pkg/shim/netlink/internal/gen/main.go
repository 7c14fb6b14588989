// Gen writes the files of package netlink that follow from the names of
// github.com/vishvananda/netlink, and the page that lists them:
//
//	go generate ./pkg/shim/netlink
//
// It reads the upstream package as it is built for Linux and for darwin. What is
// written by hand (works.go lists it) it leaves alone.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

// run writes every file. Its working directory is that of package netlink.
func run() error {
	files, err := generate()
	if err != nil {
		return err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.FromSlash(name), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// page is where the list of functions lies, seen from package netlink.
const page = "../../../docs/netlink.md"

// generate returns the files by their paths, seen from package netlink.
func generate() (map[string][]byte, error) {
	linux, err := load(upstream, "linux")
	if err != nil {
		return nil, err
	}
	other, err := load(upstream, "darwin")
	if err != nil {
		return nil, err
	}
	return write(linux, other)
}

// write returns the files, given upstream as it is for Linux and for darwin.
func write(linux, other *view) (map[string][]byte, error) {
	g := &generator{linux: linux, other: other, files: map[string][]byte{}}
	g.classify()
	for _, write := range []func() error{g.types, g.consts, g.vars, g.funcs, g.methods, g.page} {
		if err := write(); err != nil {
			return nil, err
		}
	}
	return g.files, nil
}
