// Package leak finds goroutines that tests have left behind.
//
// It is goleak with more patience: that one looks for 0.4 s, and a goroutine that
// has been told to end may need longer on a busy machine.
package leak

import (
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// patience is how long goroutines may take to end. Only a test that fails takes
// so long.
const patience = 30 * time.Second

// Main runs the tests of a package and exits with their status, or with 1 when
// they passed and goroutines of theirs are left. before is called at the end of
// both; it may be nil.
func Main(m *testing.M, before func()) {
	code := m.Run()
	if code == 0 {
		if err := Find(); err != nil {
			fmt.Fprintf(os.Stderr, "goroutines are left: %v\n", err)
			code = 1
		}
	}
	if before != nil {
		before()
	}
	os.Exit(code)
}

// None fails the test when goroutines are left that options do not leave out.
func None(t testing.TB, options ...goleak.Option) {
	t.Helper()
	if err := Find(options...); err != nil {
		t.Error(err)
	}
}

// Find waits until no goroutines are left but those that options leave out. The
// error says which are left half a minute later.
func Find(options ...goleak.Option) error {
	return find(patience, options...)
}

func find(patience time.Duration, options ...goleak.Option) error {
	for end := time.Now().Add(patience); ; {
		if err := goleak.Find(options...); err == nil || time.Now().After(end) {
			return err
		}
	}
}
