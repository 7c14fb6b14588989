package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/vmnet-cni/vmnet/internal/progress"
)

// A printer prints headings and aligned steps.
type printer struct {
	mu    sync.Mutex // guards w
	w     io.Writer
	color bool
	late  *progress.Line // what is waited for, on stderr; nil: nothing is shown
}

// newPrinter uses colour on a terminal, or where CLICOLOR_FORCE asks for it
// (bixense.com/clicolors), unless NO_COLOR is set (no-color.org).
func newPrinter(f *os.File) *printer {
	info, err := f.Stat()
	terminal := err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
	late := progress.Start(os.Stderr, "starting", progress.Config{})
	return &printer{late: late, w: late.Over(f), color: os.Getenv("NO_COLOR") == "" && (terminal || os.Getenv("CLICOLOR_FORCE") != "")}
}

// ANSI colours (ECMA-48, section 8.3.117).
const (
	bold, dim, red, green, yellow = "1", "2", "31", "32", "33"
)

func (p *printer) paint(code, text string) string {
	if !p.color {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (p *printer) printf(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.w, format, args...)
}

// head begins a part.
func (p *printer) head(format string, args ...any) {
	p.printf("\n%s\n", p.paint(bold, fmt.Sprintf(format, args...)))
}

// end says how it all ended.
func (p *printer) end(format string, args ...any) {
	p.printf("\n%s\n", p.paint(bold, fmt.Sprintf(format, args...)))
}

// fact prints something that needs no time.
func (p *printer) fact(name, format string, args ...any) {
	p.printf("  %-16s %s\n", name, fmt.Sprintf(format, args...))
}

// Marks of a step.
const (
	markOK   = "ok"
	markFail = "FAIL"
	markSkip = "--"
)

// line prints a step that has been done.
func (p *printer) line(mark string, took time.Duration, name, detail string) {
	code := map[string]string{markOK: green, markFail: red, markSkip: yellow}[mark]
	at := ""
	if mark != markSkip {
		at = duration(took)
	}
	text := strings.TrimRight(fmt.Sprintf("%-16s %s", name, detail), " ")
	p.printf("  %s %9s  %s\n", p.paint(code, fmt.Sprintf("%-4s", mark)), at, text)
}

// step does one thing and prints how it went.
func (p *printer) step(name string, fn func() (detail string, err error)) error {
	start := time.Now()
	p.late.Say(name)
	detail, err := fn()
	took := time.Since(start)
	if err != nil {
		p.line(markFail, took, name, strings.ReplaceAll(err.Error(), "\n", "\n"+strings.Repeat(" ", 36)))
		return err
	}
	p.line(markOK, took, name, detail)
	return nil
}

// json prints a document.
func (p *printer) json(v any) {
	text, err := json.MarshalIndent(v, "    ", "  ")
	if err != nil {
		text = []byte(err.Error())
	}
	p.printf("%s\n", p.paint(dim, "    "+string(text)))
}

// duration returns d in three digits or so.
func duration(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
	}
	return fmt.Sprintf("%.2f s", d.Seconds())
}

// A console prints the lines of a guest's console as they come.
type console struct {
	p    *printer
	all  bool   // or only those that the guest's scripts mark
	mark string // what marked lines begin with
	rest string // the beginning of a line
}

// Write implements io.Writer.
func (c *console) Write(b []byte) (int, error) {
	lines := strings.Split(c.rest+string(b), "\n")
	c.rest = lines[len(lines)-1]
	for _, line := range lines[:len(lines)-1] {
		text, marked := strings.CutPrefix(strings.TrimRight(line, "\r"), c.mark)
		if marked && !c.all {
			text, marked = c.brief(text)
		}
		if marked || c.all {
			c.p.printf("  %s\n", c.p.paint(dim, "     console  │ "+text))
		}
	}
	return len(b), nil
}

// brief returns what is worth showing of a marked line: the steps are told by
// the demo itself.
func (c *console) brief(text string) (string, bool) {
	kind, rest, _ := strings.Cut(text, " ")
	switch kind {
	case "step", "done":
		return "", false
	case "out":
		_, rest, _ = strings.Cut(rest, " ")
		return "  " + rest, strings.TrimSpace(rest) != ""
	}
	return text, true
}
