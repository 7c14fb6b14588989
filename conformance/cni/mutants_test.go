package cni_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/conformance/cni"
	"github.com/vmnet-cni/vmnet/conformance/cni/internal/mutant"
)

// TestFaultless: the plugin without a fault passes every check, and none is
// skipped, so that none is blind for want of an opportunity.
func TestFaultless(t *testing.T) {
	t.Parallel()
	target := mutantTarget(t, "")
	target.Timeout = time.Minute // it never hangs
	r, err := cni.Judge(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	for _, res := range r.Results {
		if res.Status != cni.Pass {
			t.Errorf("%s: %s: %s\n%s", res.ID, res.Status, res.Reason, strings.Join(res.Seen, "\n"))
		}
	}
}

// TestMutants: each fault is found by the check that is there for it.
func TestMutants(t *testing.T) {
	for _, fault := range slices.Sorted(maps.Keys(mutant.Faults())) {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			id, _, _ := strings.Cut(fault, "-")
			r, err := cni.Judge(t.Context(), mutantTarget(t, fault), id)
			if err != nil {
				t.Fatal(err)
			}
			res := r.Results[0]
			if res.Status != cni.Fail {
				t.Fatalf("a plugin that is wrong (%s) ends with %s %s", mutant.Faults()[fault], res.Status, res.Reason)
			}
			t.Log(res.Reason)
		})
	}
}

// TestEveryCheckHasAMutant: a check that nothing proves may be blind.
func TestEveryCheckHasAMutant(t *testing.T) {
	proven := map[string]bool{}
	for fault := range mutant.Faults() {
		id, _, _ := strings.Cut(fault, "-")
		proven[id] = true
	}
	for _, c := range cni.Checks() {
		if !proven[c.ID] {
			t.Errorf("no mutant for check %s", c.ID)
		}
		delete(proven, c.ID)
	}
	for id := range proven {
		t.Errorf("a mutant for check %s, which there is not", id)
	}
}
