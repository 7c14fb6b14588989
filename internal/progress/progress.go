// Package progress tells somebody at a terminal what a program waits for: a line
// that comes when something takes longer than a second, counts the seconds, and is
// gone when it is over.
//
// The line is for people only. Nothing is written where the output is not a
// terminal, where TERM is dumb, and where a program prints for others (Quiet). It is
// dim, but where NO_COLOR is set (https://no-color.org).
package progress

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/term"
)

// Times of a line.
const (
	defaultAfter = time.Second            // before it is shown
	defaultEvery = 500 * time.Millisecond // between two drawings
)

// clearLine takes the line away: to its beginning, and erase to its end (ECMA-48,
// EL).
const clearLine = "\r\x1b[K"

// Config says how a line works. The zero value is good.
type Config struct {
	// Quiet has nothing written.
	Quiet bool
	// Env looks an environment variable up. Nil: os.Getenv.
	Env func(string) string
	// Terminal says that the output is a terminal, and how wide: for tests. Zero: it
	// is looked at.
	Terminal int
	// After is how long something takes before the line is shown. Zero: a second.
	After time.Duration
	// Every is the time between two drawings. Zero: half a second.
	Every time.Duration
}

// A Line is what is shown. Its methods may be called from several goroutines; those
// of a nil Line do nothing.
type Line struct {
	cfg   Config
	stop  chan struct{}
	done  chan struct{}
	once  sync.Once
	width int // columns

	mu    sync.Mutex // guards all following fields
	out   io.Writer
	what  string
	since time.Time
	shown bool
}

// Start shows on w what is waited for, from Config.After on until Stop. Where w is
// not for people it returns nil, which is a Line that shows nothing.
func Start(w io.Writer, what string, cfg Config) *Line {
	cfg.After, cfg.Every = cmp.Or(cfg.After, defaultAfter), cmp.Or(cfg.Every, defaultEvery)
	if cfg.Env == nil {
		cfg.Env = os.Getenv
	}
	width := cmp.Or(cfg.Terminal, widthOf(w))
	if cfg.Quiet || width < 20 || cfg.Env("TERM") == "dumb" {
		return nil
	}
	l := &Line{cfg: cfg, out: w, what: what, since: time.Now(), width: width, stop: make(chan struct{}), done: make(chan struct{})}
	go l.run()
	return l
}

// widthOf returns the columns of a terminal, 0 for what is none.
func widthOf(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0
	}
	if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
		return width
	}
	return 80
}

func (l *Line) run() {
	defer close(l.done)
	wait := time.NewTimer(l.cfg.After)
	defer wait.Stop()
	for {
		select {
		case <-l.stop:
			return
		case <-wait.C:
			l.draw()
			wait.Reset(l.cfg.Every)
		}
	}
}

// draw writes the line anew.
func (l *Line) draw() {
	l.mu.Lock()
	defer l.mu.Unlock()
	took := time.Since(l.since)
	if took < l.cfg.After {
		return // Say has begun anew
	}
	text := []rune(fmt.Sprintf("%s … %d s", l.what, int(took.Seconds())))
	text = text[:min(len(text), l.width-1)] // a longer one would begin another line
	dim, plain := "\x1b[2m", "\x1b[0m"
	if l.cfg.Env("NO_COLOR") != "" {
		dim, plain = "", ""
	}
	// What cannot be shown is not missed.
	_, _ = io.WriteString(l.out, clearLine+dim+string(text)+plain)
	l.shown = true
}

// Say changes what is waited for. The seconds count from now.
func (l *Line) Say(what string) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.what, l.since = what, time.Now()
	l.clearLocked()
}

// Tell changes the words only, as to say how far it is.
func (l *Line) Tell(what string) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.what = what
}

// clearLocked takes the line away until it is drawn again.
func (l *Line) clearLocked() {
	if l.shown {
		_, _ = io.WriteString(l.out, clearLine)
		l.shown = false
	}
}

// Over returns a writer to w, another output of the same terminal: the line is taken
// away before anything is written.
func (l *Line) Over(w io.Writer) io.Writer {
	if l == nil {
		return w
	}
	return over{l, w}
}

type over struct {
	line *Line
	w    io.Writer
}

func (o over) Write(p []byte) (int, error) {
	o.line.mu.Lock()
	defer o.line.mu.Unlock()
	o.line.clearLocked()
	return o.w.Write(p)
}

// Stop takes the line away and waits until nothing more is written. It is
// idempotent.
func (l *Line) Stop() {
	if l == nil {
		return
	}
	l.once.Do(func() {
		close(l.stop)
		<-l.done
		l.mu.Lock()
		defer l.mu.Unlock()
		l.clearLocked()
	})
}
