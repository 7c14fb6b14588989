// Command sbom lists the modules that are linked into the programs of a release's
// archive, as a document of SPDX 2.3: sbom -version V -epoch SECONDS -o FILE ARCHIVE.
//
// GoReleaser runs it ("make release"). It needs no network, asks the programs
// themselves ("go version -m"), so that the list has nothing more and nothing less
// than is in them, and writes the same bytes for the same archive.
package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	fl := flag.NewFlagSet("sbom", flag.ContinueOnError)
	version := fl.String("version", "devel", "of the release")
	epoch := fl.Int64("epoch", 0, "time of the commit, in seconds since 1970")
	out := fl.String("o", "", "file for the document")
	if err := fl.Parse(args); err != nil {
		return err
	}
	if fl.NArg() != 1 || *out == "" {
		return errors.New("usage: sbom -version V -epoch SECONDS -o FILE ARCHIVE")
	}
	archive, err := os.ReadFile(fl.Arg(0))
	if err != nil {
		return err
	}
	programs, err := read(archive)
	if err != nil {
		return fmt.Errorf("read %s: %w", fl.Arg(0), err)
	}
	doc := newDocument(filepath.Base(fl.Arg(0)), *version, sha256.Sum256(archive), time.Unix(*epoch, 0))
	doc.modules(programs)
	data, err := json.MarshalIndent(doc, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(*out, append(data, '\n'), 0o644)
}

// read returns what the programs of an archive say they are made of.
func read(archive []byte) ([]*buildinfo.BuildInfo, error) {
	z, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		return nil, err
	}
	var programs []*buildinfo.BuildInfo
	for r := tar.NewReader(z); len(programs) < 2; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%d of the two programs are in it", len(programs))
		} else if err != nil {
			return nil, err
		}
		// packaging/sudoers has a vmnet-shim too.
		if name := path.Base(h.Name); h.Typeflag != tar.TypeReg || strings.Count(h.Name, "/") != 1 || name != "vmnet" && name != "vmnet-shim" {
			continue
		}
		data, err := io.ReadAll(r)
		if err != nil {
			return nil, err
		}
		info, err := buildinfo.Read(bytes.NewReader(data))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", h.Name, err)
		}
		programs = append(programs, info)
	}
	return programs, nil
}
