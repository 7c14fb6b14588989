package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// binaries are the programs of one system.
type binaries struct{ shim, plugin string }

// goTool runs the go command.
func goTool(env []string, args ...string) error {
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go %s: %w", args[0], err)
	}
	return nil
}

// build builds the programs: without paths of this machine, and without what git
// knows, for that would make a checkout and an archive of it differ.
func (r *release) build(t target, dir string) (b binaries, err error) {
	b = binaries{shim: filepath.Join(dir, "vmnet-shim"), plugin: filepath.Join(dir, "vmnet")}
	env := []string{"GOOS=" + t.os, "GOARCH=" + t.arch, "CGO_ENABLED=0", "GOFLAGS=", "GOAMD64=v1", "GOARM64=v8.0"}
	for path, pkg := range map[string]string{b.shim: "./cmd/vmnet-shim", b.plugin: "./plugins/vmnet"} {
		err := goTool(env, "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -X main.version="+r.version, "-o", path, pkg)
		if err != nil {
			return b, err
		}
	}
	return b, nil
}

// documents has the program write its man pages and completions.
func (r *release) documents(tmp string) (string, error) {
	dir := filepath.Join(tmp, "docs")
	env := []string{"CGO_ENABLED=0", fmt.Sprintf("SOURCE_DATE_EPOCH=%d", r.date.Unix())}
	return dir, goTool(env, "run", "-trimpath", "-buildvcs=false", "-tags", "gendocs", "-ldflags", "-X main.version="+r.version, "./cmd/vmnet-shim", "gendocs", dir)
}
