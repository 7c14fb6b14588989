package main

import (
	"fmt"
	"os"
	"strings"
)

// formula fills Homebrew's formula in, where the archives for macOS are there.
func (r *release) formula() error {
	data, err := os.ReadFile("packaging/homebrew/vmnet.rb")
	if err != nil {
		return err
	}
	version := strings.TrimPrefix(r.version, "v")
	text := strings.ReplaceAll(string(data), "@VERSION@", version)
	for _, t := range targets {
		sum, ok := r.sums[fmt.Sprintf("vmnet_%s_%s.tar.gz", version, t)]
		if !ok && t.os == "darwin" {
			return nil
		}
		text = strings.ReplaceAll(text, "@"+strings.ToUpper(t.String())+"@", sum)
	}
	return r.write("vmnet.rb", []byte(text))
}
