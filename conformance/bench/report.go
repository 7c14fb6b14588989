package main

import (
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"
)

// A report is what a run found.
type report struct {
	Start  time.Time `json:"start"`
	Took   string    `json:"took"`
	OS     string    `json:"os"`
	Cores  int       `json:"cores"`
	Load   string    `json:"load,omitempty"` // load average at the start
	Tables []*table  `json:"tables"`
	Goals  []goal    `json:"goals"`
	Left   []omitted `json:"leftOut,omitempty"`
}

// A table has one row for each contender.
type table struct {
	Title   string   `json:"title"`
	File    string   `json:"file,omitempty"` // of its plot, without ending
	Columns []string `json:"columns"`
	Plot    []int    `json:"-"` // columns to plot; nil: none
	Rows    []row    `json:"rows"`
}

// A row has a value for each column; what was not measured is below 0.
type row struct {
	Name   string    `json:"name"`
	Ours   bool      `json:"ours"`
	Values []float64 `json:"values"`
}

// A goal is a ratio and what it must be.
type goal struct {
	Name  string  `json:"name"`
	Ratio float64 `json:"ratio"`
	AtMin bool    `json:"atLeast"` // else at most
	Want  float64 `json:"want"`
	Met   bool    `json:"met"`
}

// omitted is something that could not be run.
type omitted struct {
	What string `json:"what"`
	Why  string `json:"why"`
}

func (r *report) leftOut(what string, why error) {
	r.Left = append(r.Left, omitted{what, why.Error()})
}

// atLeast and atMost note a goal.
func (r *report) atLeast(name string, ratio, want float64) {
	r.Goals = append(r.Goals, goal{name, ratio, true, want, ratio >= want})
}

func (r *report) atMost(name string, ratio, want float64) {
	r.Goals = append(r.Goals, goal{name, ratio, false, want, ratio <= want})
}

func (r *report) print(to io.Writer) {
	fmt.Fprintf(to, "\n%s, %d cores, load %s at the start, took %s\n", r.OS, r.Cores, r.Load, r.Took)
	for _, t := range r.Tables {
		t.print(to)
	}
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprint(w, "\ngoal\tratio\twant\t\n")
	for _, g := range r.Goals {
		sign, verdict := "≤", "MISSED"
		if g.AtMin {
			sign = "≥"
		}
		if g.Met {
			verdict = "met"
		}
		fmt.Fprintf(w, "%s\t%.2f\t%s %.2f\t%s\n", g.Name, g.Ratio, sign, g.Want, verdict)
	}
	_ = w.Flush() // to the terminal, whose errors nobody could be told of
	for _, l := range r.Left {
		fmt.Fprintf(to, "left out: %s: %s\n", l.What, l.Why)
	}
}

func (t *table) print(to io.Writer) {
	fmt.Fprintf(to, "\n%s\n", t.Title)
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "\t")
	for _, c := range t.Columns {
		fmt.Fprintf(w, "%s\t", c)
	}
	fmt.Fprintln(w)
	for _, r := range t.Rows {
		fmt.Fprintf(w, "%s\t", r.Name)
		for _, v := range r.Values {
			fmt.Fprintf(w, "%s\t", figure(v))
		}
		fmt.Fprintln(w)
	}
	_ = w.Flush() // likewise
}

// figure prints three digits that count.
func figure(v float64) string {
	switch {
	case v < 0:
		return "–"
	case v >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}
