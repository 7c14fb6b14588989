// Command release makes what is published: an archive for each system, packages for
// Debian, a formula for Homebrew, a list of what is linked (SPDX) and checksums.
// "make release" runs it.
//
// It needs nothing but this module and the Go toolchain, no network, and writes the
// same bytes for the same commit, version and toolchain: every time is that of the
// commit, every list is sorted, and nothing of this machine gets in.
package main

import (
	"crypto/sha256"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

// A release is one run.
type release struct {
	version string
	date    time.Time // of everything in it
	out     string
	docs    string // man pages and completions
	sums    map[string]string
}

// A target is a system.
type target struct{ os, arch string }

func (t target) String() string { return t.os + "_" + t.arch }

var targets = []target{{"darwin", "amd64"}, {"darwin", "arm64"}, {"linux", "amd64"}, {"linux", "arm64"}}

func run(args []string) error {
	fl := flag.NewFlagSet("release", flag.ContinueOnError)
	r := release{sums: map[string]string{}}
	fl.StringVar(&r.version, "version", "devel", "what the programs say")
	fl.StringVar(&r.out, "out", "dist", "directory for the results")
	epoch := fl.Int64("epoch", 0, "time of the commit, in seconds since 1970")
	only := fl.String("only", "", "systems, as linux_amd64,darwin_arm64; empty: all")
	if err := fl.Parse(args); err != nil {
		return err
	}
	r.date = time.Unix(*epoch, 0).UTC()
	tmp, err := os.MkdirTemp("", "vmnet-release")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := os.MkdirAll(r.out, 0o755); err != nil {
		return err
	}
	if r.docs, err = r.documents(tmp); err != nil {
		return err
	}
	for _, t := range targets {
		if *only != "" && !slices.Contains(strings.Split(*only, ","), t.String()) {
			continue
		}
		if err := r.target(t, filepath.Join(tmp, t.String())); err != nil {
			return fmt.Errorf("%s: %w", t, err)
		}
	}
	if err := r.formula(); err != nil {
		return err
	}
	return r.checksums()
}

// target makes everything for one system.
func (r *release) target(t target, dir string) error {
	b, err := r.build(t, dir)
	if err != nil {
		return err
	}
	base := fmt.Sprintf("vmnet_%s_%s", strings.TrimPrefix(r.version, "v"), t)
	tree, err := r.archiveTree(b, base)
	if err != nil {
		return err
	}
	archive, err := targz(tree, "", r.date)
	if err == nil {
		err = r.write(base+".tar.gz", archive)
	}
	if err != nil {
		return err
	}
	bom, err := r.sbom(base+".tar.gz", b)
	if err == nil {
		err = r.write(base+".spdx.json", bom)
	}
	if err != nil || t.os != "linux" {
		return err
	}
	return r.debian(t, b)
}

// write writes one result and remembers its checksum.
func (r *release) write(name string, data []byte) error {
	r.sums[name] = fmt.Sprintf("%x", sha256.Sum256(data))
	fmt.Printf("%s  %d bytes\n", filepath.Join(r.out, name), len(data))
	return os.WriteFile(filepath.Join(r.out, name), data, 0o644)
}

// checksums writes them as sha256sum -c wants them.
func (r *release) checksums() error {
	var b strings.Builder
	names := make([]string, 0, len(r.sums))
	for name := range r.sums {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(&b, "%s  %s\n", r.sums[name], name)
	}
	return os.WriteFile(filepath.Join(r.out, "checksums.txt"), []byte(b.String()), 0o644)
}
