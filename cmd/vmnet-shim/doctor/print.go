package doctor

import (
	"fmt"
	"io"
	"strings"
)

// Print writes a report for people: what is wrong first.
func (r Report) Print(w io.Writer, plain bool) error {
	paint := func(colour, s string) string {
		if plain {
			return s
		}
		return "\x1b[" + colour + "m" + s + "\x1b[0m"
	}
	var b strings.Builder
	wrong, notes := 0, 0
	for _, f := range r.Findings {
		head := paint("33", "note ")
		if notes++; f.Level == Wrong {
			head = paint("31", "wrong")
			notes--
			wrong++
		}
		fmt.Fprintf(&b, "%s  %s: %s\n  why   %s\n  mend  %s\n\n", head, f.Check, f.What, f.Why, f.Mend)
	}
	for _, c := range r.Checks {
		if c.State == "skipped" {
			fmt.Fprintf(&b, "skipped  %s: %s\n", c.Check, c.Reason)
		}
	}
	fmt.Fprintf(&b, "%d checks: %d wrong, %d to note\n", len(r.Checks), wrong, notes)
	_, err := io.WriteString(w, b.String())
	return err
}
