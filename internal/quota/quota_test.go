package quota_test

import (
	"testing"

	"github.com/vmnet-cni/vmnet/internal/quota"
)

// Nobody has more than its part, all together no more than all, and what is given back
// can be taken again.
func TestQuota(t *testing.T) {
	q := quota.New[string](3, 2)
	for k, step := range []struct {
		who  string
		want bool
	}{{"a", true}, {"a", true}, {"a", false}, {"b", true}, {"b", false}, {"c", false}} {
		if got := q.Take(step.who); got != step.want {
			t.Errorf("step %d, %s: %t", k, step.who, got)
		}
	}
	q.Give("a")
	if !q.Take("c") || q.Take("a") {
		t.Error("after one was given back: want room for one")
	}
}
