package main

import (
	"fmt"
	"html"
	"os"
	"path/filepath"
	"strings"
)

// Sizes of a plot in pixels: bars with a name before and a figure behind them.
const (
	plotWidth = 640
	nameWidth = 190
	barWidth  = 360
	barHeight = 18
	barStep   = 24
	headStep  = 44
)

// plot draws the tables that want it as SVG: bars need no library.
func (r *report) plot(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // for everybody to read
		return err
	}
	for _, t := range r.Tables {
		if t.Plot == nil {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, t.File+".svg"), []byte(t.svg()), 0o644); err != nil { //nolint:gosec // likewise
			return err
		}
	}
	return nil
}

// heading says what the bars of column c are: a ratio alone would say nothing.
func (t *table) heading(c int) string {
	if a, b, ok := strings.Cut(t.Columns[c], ":"); ok {
		return fmt.Sprintf("%s: %s : %s, 1 is the same speed", t.Title, a, b)
	}
	return t.Columns[c]
}

// svg draws one group of bars for each plotted column.
func (t *table) svg() string {
	var body strings.Builder
	y := 0
	for _, c := range t.Plot {
		y += headStep
		fmt.Fprintf(&body, `<text x="%d" y="%d" class="h">%s</text>`+"\n", 8, y-14, html.EscapeString(t.heading(c)))
		most := 0.0
		for _, r := range t.Rows {
			most = max(most, r.Values[c])
		}
		for _, r := range t.Rows {
			v := r.Values[c]
			if v < 0 {
				continue
			}
			class := "p"
			if r.Ours || strings.HasPrefix(r.Name, "netstack") || strings.Contains(t.Columns[c], ":") {
				class = "o"
			}
			w := 0.0
			if most > 0 {
				w = v / most * barWidth
			}
			fmt.Fprintf(&body, `<text x="%d" y="%d" text-anchor="end">%s</text><rect class="%s" x="%d" y="%d" width="%.1f" height="%d"/><text x="%.1f" y="%d">%s</text>`+"\n",
				nameWidth, y+barHeight-5, html.EscapeString(r.Name), class, nameWidth+8, y, w, barHeight, nameWidth+14+w, y+barHeight-5, figure(v))
			y += barStep
		}
	}
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">
<style>text{fill:#222}.h{font-weight:bold}.o{fill:#2563eb}.p{fill:#9ca3af}</style>
<rect width="100%%" height="100%%" fill="#fff"/>
`, plotWidth, y+12, plotWidth, y+12) + body.String() + "</svg>\n"
}
