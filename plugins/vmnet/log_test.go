package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/sirupsen/logrus"
)

// fakeSyslog writes down what the system's log would get.
type fakeSyslog struct{ lines []string }

func (f *fakeSyslog) say(level, line string) error {
	f.lines = append(f.lines, level+" "+line)
	return nil
}
func (f *fakeSyslog) Err(s string) error     { return f.say("err", s) }
func (f *fakeSyslog) Warning(s string) error { return f.say("warning", s) }
func (f *fakeSyslog) Info(s string) error    { return f.say("info", s) }
func (f *fakeSyslog) Debug(s string) error   { return f.say("debug", s) }
func (f *fakeSyslog) Close() error           { return f.say("closed", "") }

func TestSyslog(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{nil, "info level=info msg=ADD network=n took=X\n|closed "},
		{errors.New("no"), "err level=error msg=\"ADD: no\" code=999 network=n took=X\n|closed "},
	} {
		var stderr bytes.Buffer
		var f fakeSyslog
		l := newVerbLog("ADD", &stderr)
		l.set("network", "n")
		l.toSystem(&f)
		l.end(c.err)
		got := regexp.MustCompile(`took=\S+`).ReplaceAllString(strings.Join(f.lines, "|"), "took=X")
		if got != c.want || stderr.Len() > 0 {
			t.Errorf("%v: %q and %q, want %q", c.err, got, &stderr, c.want)
		}
	}
	var f fakeSyslog
	l := newVerbLog("ADD", io.Discard)
	l.toSystem(&f)
	l.logger.SetLevel(logrus.DebugLevel)
	l.logger.Warn("w")
	l.logger.Debug("d")
	if got := fmt.Sprint(len(f.lines), strings.HasPrefix(f.lines[0], "warning "), strings.HasPrefix(f.lines[1], "debug ")); got != "2 true true" {
		t.Errorf("levels: %v", f.lines)
	}
}

// A FIFO that nobody reads is refused, and DEL, which needs no log, goes on: neither
// waits for a reader.
func TestLogFIFO(t *testing.T) {
	emptyDirs(t)
	fake := newFakeShim(t)
	fifo := filepath.Join(t.TempDir(), "log")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	c := conf(t, fake.path, map[string]any{"logFile": fifo})
	if got := runVerb(t, "ADD", nil, strings.NewReader(c)); got.code == 0 || !strings.Contains(got.stdout, "want a file that can be written") {
		t.Errorf("ADD: %+v", got)
	}
	if got := runVerb(t, "DEL", nil, strings.NewReader(c)); got.code != 0 {
		t.Errorf("DEL: %+v", got)
	}
}
