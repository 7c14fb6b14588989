package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// An event is output at a time since the start.
type event struct {
	at   time.Duration
	text string
}

// A recorder collects events.
type recorder struct {
	title  string
	pace   time.Duration // least time between two lines
	start  time.Time
	events []event
}

// add records output; it comes at least pace after what was before.
func (r *recorder) add(at, pace time.Duration, text string) {
	if n := len(r.events); n > 0 {
		at = max(at, r.events[n-1].at+pace)
	}
	r.events = append(r.events, event{at, text})
}

// typed records a prompt and a command that somebody types.
func (r *recorder) typed(command string) {
	r.add(0, 0, "$ ")
	for _, c := range command {
		r.add(0, r.pace, string(c))
	}
	r.add(0, 8*r.pace, "\r\n")
}

// read records lines until the end of file.
func (r *recorder) read(in io.Reader) error {
	for lines := bufio.NewReader(in); ; {
		line, err := lines.ReadString('\n')
		if line != "" {
			r.add(time.Since(r.start), r.pace, strings.TrimSuffix(line, "\n")+"\r\n")
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// write writes the recording (asciicast file format, version 2): a header, and an
// array for each event, one a line.
func (r *recorder) write(out io.Writer) error {
	w := bufio.NewWriter(out)
	header := map[string]any{"version": 2, "width": r.width(), "height": 40, "env": map[string]string{"TERM": "xterm-256color"}}
	if r.title != "" {
		header["title"] = r.title
	}
	if err := json.NewEncoder(w).Encode(header); err != nil {
		return err
	}
	for _, e := range r.events {
		text, err := json.Marshal(e.text)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "[%.3f, \"o\", %s]\n", e.at.Seconds(), text); err != nil {
			return err
		}
	}
	return w.Flush()
}

// width returns the columns that the longest line needs, 80 to 132.
func (r *recorder) width() int {
	n := 80
	for _, e := range r.events {
		n = max(n, utf8.RuneCountInString(e.text))
	}
	return min(n, 132)
}
