package cni

import (
	"strings"
	"testing"
)

// Run judges target with a subtest for each check, all of them or those with the
// IDs, in grade Spec.
func Run(t *testing.T, target Target, ids ...string) {
	t.Helper()
	RunGrade(t, target, Spec, ids...)
}

// RunGrade is Run in another grade: a failure that does not count in it is logged.
func RunGrade(t *testing.T, target Target, g Grade, ids ...string) {
	t.Helper()
	checks, err := selected(ids)
	if err != nil {
		t.Fatal(err)
	}
	s, err := newSession(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
	for i := range checks {
		t.Run(checks[i].ID, func(t *testing.T) { s.perform(&checks[i]).tell(t, g) })
	}
}

// tell ends a test as the result says.
func (r Result) tell(t *testing.T, g Grade) {
	t.Helper()
	text := r.Reason
	if r.Status == Fail {
		text += "\n" + r.Source + ": " + r.Sentence + "\n" + strings.Join(r.Seen, "\n")
	}
	switch {
	case r.Counts(g):
		t.Error(text)
	case r.Status == Fail:
		t.Logf("warning, not counted in grade %s: %s", g, text)
	case r.Status == Skip:
		t.Skip(text)
	}
}
