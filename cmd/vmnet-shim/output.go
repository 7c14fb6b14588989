package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// output is the flag --output.
type output struct{ format string }

func (o *output) register(cmd *cobra.Command) {
	o.format = "table"
	cmd.Flags().VarP(o, "output", "o", "how to print: table or json")
}

// String implements pflag.Value.
func (o *output) String() string { return o.format }

// Set implements pflag.Value.
func (o *output) Set(s string) error {
	if s != "table" && s != "json" {
		return fmt.Errorf("want table or json")
	}
	o.format = s
	return nil
}

// Type implements pflag.Value.
func (o *output) Type() string { return "format" }

// print writes v as JSON or what fill puts into a table.
func (o *output) print(w io.Writer, v any, fill func(*table)) error {
	if o.format == "json" {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	}
	t := &table{w: tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)}
	fill(t)
	return t.w.Flush()
}

// table is columns of text.
type table struct{ w *tabwriter.Writer }

// row adds cells; an empty one becomes "-".
func (t *table) row(cells ...string) {
	for i, c := range cells {
		if c == "" {
			cells[i] = "-"
		}
	}
	fmt.Fprintln(t.w, strings.Join(cells, "\t"))
}

// text adds a line as it is.
func (t *table) text(line string) { fmt.Fprintln(t.w, line) }
