package netstack

import (
	"io"
	"strings"
	"testing"
	"time"
)

// A flow's last datagram is a time since an instant, which Go takes from the monotonic
// clock: with the time of day, which may jump, flows would end by a jump.
func TestFlowTimes(t *testing.T) {
	flows := newNATTable[io.Closer](1, 1, new(counters), nil)
	f := &natFlow[io.Closer]{sock: io.NopCloser(strings.NewReader("")), idle: time.Hour}
	if !flows.add(f) {
		t.Fatal("refused")
	}
	if last := time.Duration(f.last.Load()); last < 0 || last > time.Hour {
		t.Errorf("last datagram %s after the table was made", last)
	}
	flows.expire(time.Now().Add(time.Minute))
	if s := flows.stats(); s.Open != 1 {
		t.Errorf("%d flows are open a minute later, want 1", s.Open)
	}
	flows.expire(time.Now().Add(2 * time.Hour))
	if s := flows.stats(); s.Open != 0 {
		t.Errorf("%d flows are open after two idle hours", s.Open)
	}
}
