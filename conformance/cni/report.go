package cni

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"time"
)

// A Status is how a check ended.
type Status string

// Statuses.
const (
	Pass Status = "pass"
	Fail Status = "fail"
	// Skip means that the check could not be made; the reason proves why.
	Skip Status = "skip"
)

// A Result is what came of one check.
type Result struct {
	ID       string `json:"id"`
	Level    Level  `json:"level"`
	Grade    Grade  `json:"grade"`
	Sentence string `json:"sentence"`
	Source   string `json:"source"`
	Status   Status `json:"status"`
	// Reason says why it failed or was skipped, in words that do not change
	// from run to run.
	Reason string `json:"reason,omitempty"`
	// Seen are executions that show the failure.
	Seen    []string `json:"seen,omitempty"`
	Seconds float64  `json:"seconds"`
}

// A Report is what came of all checks.
type Report struct {
	Spec      string     `json:"spec"`   // version of the specification
	Plugin    string     `json:"plugin"` // its type
	Version   string     `json:"cniVersion"`
	Supported []string   `json:"supportedVersions"`
	Kind      Kind       `json:"kind"`
	Domain    DomainKind `json:"domain"`
	Started   time.Time  `json:"started"`
	Results   []Result   `json:"results"`
}

// Counts reports whether the result counts as a failure in grade g.
func (r *Result) Counts(g Grade) bool {
	return r.Status == Fail && (g == Spec || r.Grade == Compat)
}

// Failed returns the results that count as failures in grade g.
func (r *Report) Failed(g Grade) []Result {
	var all []Result
	for _, res := range r.Results {
		if res.Counts(g) {
			all = append(all, res)
		}
	}
	return all
}

// count returns how many results have the status.
func (r *Report) count(s Status) int {
	n := 0
	for _, res := range r.Results {
		if res.Status == s {
			n++
		}
	}
	return n
}

// Text writes the report for people: each failure with its sentence and what was
// seen, each skip with its reason.
func (r *Report) Text(w io.Writer, g Grade) error {
	e := &errWriter{w: w}
	e.printf("%s (%s, CNI %s, domain %s), judged by CNI %s, grade %s\n\n", r.Plugin, r.Kind, r.Version, r.Domain, r.Spec, g)
	for _, res := range r.Results {
		mark := string(res.Status)
		if res.Status == Fail && !res.Counts(g) {
			mark = "warn"
		}
		e.printf("%-4s %s %s", mark, res.ID, res.Level)
		if res.Reason != "" {
			e.printf("  %s", res.Reason)
		}
		e.printf("\n")
		if res.Status != Fail {
			continue
		}
		e.printf("       %q (%s)\n", res.Sentence, res.Source)
		for _, s := range res.Seen {
			e.printf("       seen: %s\n", s)
		}
	}
	failed := len(r.Failed(g))
	e.printf("\n%d checks: %d pass, %d fail, %d warn, %d skip\n",
		len(r.Results), r.count(Pass), failed, r.count(Fail)-failed, r.count(Skip))
	return e.err
}

// JSON writes the report as one JSON object.
func (r *Report) JSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(r)
}

// Golden writes what does not change from run to run, a line for each check, for
// comparison with a file.
func (r *Report) Golden(w io.Writer) error {
	e := &errWriter{w: w}
	for _, res := range r.Results {
		e.printf("%s %s", res.ID, res.Status)
		if res.Reason != "" {
			e.printf(" %s", res.Reason)
		}
		e.printf("\n")
	}
	return e.err
}

// An errWriter keeps the first error.
type errWriter struct {
	w   io.Writer
	err error
}

func (e *errWriter) printf(format string, args ...any) {
	if e.err == nil {
		_, e.err = fmt.Fprintf(e.w, format, args...)
	}
}

// The shape of a JUnit report, as CI systems read it.
type (
	junitSuite struct {
		XMLName  xml.Name    `xml:"testsuite"`
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Skipped  int         `xml:"skipped,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Class   string        `xml:"classname,attr"`
		Name    string        `xml:"name,attr"`
		Time    string        `xml:"time,attr"`
		Failure *junitMessage `xml:"failure"`
		Skipped *junitMessage `xml:"skipped"`
		Out     string        `xml:"system-out,omitempty"`
	}
	junitMessage struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

// JUnit writes the report in JUnit's XML. A failure that does not count in grade
// g is a case that passed, with the reason as its output.
func (r *Report) JUnit(w io.Writer, g Grade) error {
	s := junitSuite{Name: "cni-conformance " + r.Plugin, Tests: len(r.Results), Failures: len(r.Failed(g)), Skipped: r.count(Skip)}
	for _, res := range r.Results {
		c := junitCase{Class: "cni." + string(res.Level), Name: res.ID + " " + res.Sentence, Time: fmt.Sprintf("%.3f", res.Seconds)}
		switch {
		case res.Counts(g):
			c.Failure = &junitMessage{Message: res.Reason, Text: fmt.Sprintf("%q (%s)\n%s", res.Sentence, res.Source, lines(res.Seen))}
		case res.Status == Fail:
			c.Out = "warning, not counted in grade " + string(g) + ": " + res.Reason
		case res.Status == Skip:
			c.Skipped = &junitMessage{Message: res.Reason}
		}
		s.Cases = append(s.Cases, c)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(s); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func lines(all []string) string {
	out := ""
	for _, s := range all {
		out += s + "\n"
	}
	return out
}
