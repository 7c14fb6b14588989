package server

import (
	"context"
	"errors"
	"slices"
	"testing"
)

func TestUndo(t *testing.T) {
	var ran []string
	fail := map[string]bool{}
	step := func(name string) func(context.Context) error {
		return func(context.Context) error {
			ran = append(ran, name)
			if fail[name] {
				return errors.New("stuck")
			}
			return nil
		}
	}
	var l undoList
	l.add("network", step("network"))
	l.addDurable("lease", step("lease"))
	l.add("relay", step("relay"))
	l.addDurable("file", step("file"))
	check := func(what string, err error, wantErr string, wantRan ...string) {
		t.Helper()
		text := ""
		if err != nil {
			text = err.Error()
		}
		if text != wantErr || !slices.Equal(ran, wantRan) {
			t.Errorf("%s: ran %q, error %q, want %q, %q", what, ran, text, wantRan, wantErr)
		}
		ran = nil
	}
	fail["relay"], fail["lease"] = true, true
	check("everything", l.all(t.Context()), "relay: stuck\nlease: stuck", "file", "relay", "lease", "network")
	check("shim ends", l.ephemeral(t.Context()), "")
	fail["lease"] = false
	check("again", l.all(t.Context()), "", "lease")
	check("and again", l.all(t.Context()), "")
}
