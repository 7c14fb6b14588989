//go:build !linux

package main

import (
	"errors"
	"testing"
)

func playConfined(string) int { return 77 }

func TestConfineUnsupported(t *testing.T) {
	if err := (confinement{}).startAgain(); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("%v, want ErrUnsupported", err)
	}
}
