package keeper

import (
	"strings"
	"testing"
	"time"
)

func TestPace(t *testing.T) {
	var p pace
	now := time.Unix(1000, 0)
	for i, want := range []time.Duration{0, 50, 100, 200, 400, 800, 1600, 3200, 5000, 5000} {
		now = now.Add(time.Second)
		if got := p.died(now, 0); got != want*time.Millisecond {
			t.Errorf("pause %d: %s, want %s", i, got, want*time.Millisecond)
		}
	}
	if !p.tooOften(now) || p.tooOften(now.Add(time.Minute)) {
		t.Error("ten deaths in ten seconds are too often, and not for ever")
	}
	if got := p.died(now, time.Millisecond); got != readyPause {
		t.Errorf("after one that was ready: %s", got)
	}
	if got := p.died(now, time.Second); got != 0 {
		t.Errorf("after a life that worked: %s", got)
	}
	if got := p.died(now, 0); got != 0 {
		t.Errorf("after the first short life: %s", got)
	}
}

func TestCheckName(t *testing.T) {
	for _, good := range []string{"a", "0123456789abcdef.d", "0123456789abcdef.x.tcp-all-80", strings.Repeat("x", 128)} {
		if err := CheckName(good); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", "a:b", "a b", "ä", "a\n", "a/b", strings.Repeat("x", 129)} {
		if CheckName(bad) == nil {
			t.Errorf("%q is allowed", bad)
		}
	}
}

func FuzzMessage(f *testing.F) {
	for _, seed := range []string{"READY=1", "FDSTORE=1\nFDPOLL=0\nFDNAME=a.b", "FDSTOREREMOVE=1\nFDNAME=x", "STOPPING=1\nMAINPID=12", "MAINPID=-1", "FDSTORE=1\nFDNAME=a:b", "=\n==", ""} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := parse(data)
		if err == nil && (m.store || m.remove) && CheckName(m.name) != nil {
			t.Errorf("%q: name %q", data, m.name)
		}
		if m.pid < 0 || m.pid == 1 {
			t.Errorf("%q: pid %d", data, m.pid)
		}
	})
}

// TestReport tells of the tenth death within a minute, and not for ever.
func TestReport(t *testing.T) {
	k := &keeper{cfg: Config{Dir: t.TempDir(), Logf: t.Logf}}
	now := time.Now()
	for i := range tooMany {
		k.pace.died(now, 0)
		k.report("signal: killed", now)
		r, err := ReadReport(k.cfg.Dir)
		if err != nil || r.Deaths != i+1 || (r.ProblemAt(now) != "") != (i == tooMany-1) {
			t.Errorf("death %d: %+v, %v", i+1, r, err)
		}
	}
	r, err := ReadReport(k.cfg.Dir)
	if err != nil || !strings.Contains(r.ProblemAt(now), "killed") || r.ProblemAt(now.Add(window)) != "" {
		t.Errorf("report %+v, %v", r, err)
	}
	k.removeReport()
	if r, err := ReadReport(k.cfg.Dir); r != nil || err != nil {
		t.Errorf("removed: %+v, %v", r, err)
	}
}
