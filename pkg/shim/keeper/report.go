package keeper

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// ReportName is the name of the keeper's report in Config.Dir, which is there
// after the first death of a shim.
const ReportName = "keeper.json"

// A Report is what a keeper tells of the deaths it saw.
type Report struct {
	Version int       `json:"version"` // 1
	PID     int       `json:"pid"`     // the keeper's
	Deaths  int       `json:"deaths"`  // of shims, since the keeper started
	Last    string    `json:"last"`    // how the last one ended
	At      time.Time `json:"at"`      // when
	// Problem says that shims die too often, and holds until Until.
	Problem string    `json:"problem,omitempty"`
	Until   time.Time `json:"until,omitzero"`
}

// ReadReport returns the report in dir, and nil when there is none.
func ReadReport(dir string) (*Report, error) {
	data, err := os.ReadFile(filepath.Join(dir, ReportName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var r Report
	if err == nil {
		err = json.Unmarshal(data, &r)
	}
	if err != nil {
		return nil, fmt.Errorf("keeper's report: %w", err)
	}
	return &r, nil
}

// ProblemAt returns what an operator should know at that time, or "".
func (r *Report) ProblemAt(now time.Time) string {
	if r == nil || !now.Before(r.Until) {
		return ""
	}
	return r.Problem
}

func (k *keeper) report(how string, now time.Time) {
	r := Report{Version: 1, PID: os.Getpid(), Deaths: k.pace.count, Last: how, At: now.UTC()}
	if k.pace.tooOften(now) {
		r.Problem = fmt.Sprintf("the shim has died %d times within a minute, the last time: %s", tooMany, how)
		r.Until = now.Add(window).UTC()
	}
	data, err := json.Marshal(r)
	if err == nil {
		// Renamed, so that nobody reads a half; without fsync, since it tells
		// nothing after a reboot.
		path := filepath.Join(k.cfg.Dir, ReportName)
		if err = os.WriteFile(path+"~", append(data, '\n'), 0o600); err == nil {
			err = os.Rename(path+"~", path)
		}
	}
	if err != nil {
		k.cfg.Logf("report: %v", err)
	}
}

// removeReport removes the report if it is this keeper's.
func (k *keeper) removeReport() {
	if r, err := ReadReport(k.cfg.Dir); err == nil && r != nil && r.PID == os.Getpid() {
		_ = os.Remove(filepath.Join(k.cfg.Dir, ReportName)) // it tells of nobody any more
	}
}
