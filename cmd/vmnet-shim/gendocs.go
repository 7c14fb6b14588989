//go:build gendocs

// With the tag gendocs the program writes its man pages and shell completions, and
// needs packages that nobody else does: "go run -tags gendocs ./cmd/vmnet-shim
// gendocs DIR".
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

func generators() []*cobra.Command { return []*cobra.Command{newGenDocs()} }

func newGenDocs() *cobra.Command {
	return &cobra.Command{
		Use: "gendocs DIR", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return genDocs(cmd.Root(), args[0]) },
	}
}

// genDocs writes DIR/man/*.1 and DIR/completions/*, always the same for the same
// commands and $SOURCE_DATE_EPOCH.
func genDocs(root *cobra.Command, dir string) error {
	epoch, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
	if err != nil {
		return fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
	}
	date := time.Unix(epoch, 0).UTC()
	man, completions := filepath.Join(dir, "man"), filepath.Join(dir, "completions")
	for _, d := range []string{man, completions} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	root.DisableAutoGenTag = true
	header := &doc.GenManHeader{Section: "1", Date: &date, Source: "vmnet " + version, Manual: "vmnet"}
	if err := doc.GenManTree(root, header, man); err != nil {
		return err
	}
	if err := root.GenBashCompletionFileV2(filepath.Join(completions, "vmnet-shim.bash"), true); err != nil {
		return err
	}
	if err := root.GenZshCompletionFile(filepath.Join(completions, "_vmnet-shim")); err != nil {
		return err
	}
	return root.GenFishCompletionFile(filepath.Join(completions, "vmnet-shim.fish"), true)
}
