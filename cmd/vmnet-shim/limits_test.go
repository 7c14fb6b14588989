package main

import (
	"strings"
	"testing"
)

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "1": 1, "1B": 1, "2KiB": 2048, "512MiB": 512 << 20, "2GiB": 2 << 30, "1TiB": 1 << 40,
		"": -1, "-1": -1, "x": -1, "1MB": -1, "9999999TiB": -1, "1.5GiB": -1,
	} {
		got, err := parseSize(text)
		if err != nil {
			got = -1
		}
		if got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}

func TestLimitFlags(t *testing.T) {
	w := newWorld(t)
	for _, tt := range [][2]string{{"--max-memory=x", `--max-memory "x"`}, {"--max-tcp-flows=-1", "--max-tcp-flows -1"}} {
		if status, _, errs := w.run("serve", tt[0]); status == 0 || !strings.Contains(errs, tt[1]) {
			t.Errorf("%s: %d %s", tt[0], status, errs)
		}
	}
}
