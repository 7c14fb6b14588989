package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// A goBench is a benchmark of a package: what its metrics are called.
type goBench struct {
	title, pkg, bench, benchtime string
	columns                      []string // units
	file                         string   // of the plot
	plot                         []int
}

// figures are the metrics of one benchmark by unit.
type figures map[string]float64

// run runs the benchmark with go test, puts its table into the report, and
// returns the figures by name.
func (g goBench) run(ctx context.Context, o options, r *report) (map[string]figures, error) {
	args := []string{"test", "-run", "^$", "-bench", g.bench, "-benchtime", g.benchtime, "-timeout", "10m"}
	if o.profiles != "" {
		dir, err := filepath.Abs(o.profiles)
		if err != nil {
			return nil, err
		}
		name := filepath.Base(g.pkg)
		args = append(args, "-cpuprofile", filepath.Join(dir, name+".pprof"), "-o", filepath.Join(dir, name+".test"))
	}
	cmd := exec.CommandContext(ctx, "go", append(args, g.pkg)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, err
	}
	found := map[string]figures{}
	t := &table{Title: g.title, Columns: g.columns, File: g.file, Plot: g.plot}
	var why []string
	for s := bufio.NewScanner(out); s.Scan(); {
		name, f := parseLine(s.Text())
		if f == nil {
			why = append(why, strings.TrimSpace(s.Text()))
			continue
		}
		found[name] = f
		t.Rows = append(t.Rows, row{Name: name, Values: f.values(g.columns)})
	}
	if err := cmd.Wait(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, strings.Join(why, "; "))
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("no figures: %s", strings.Join(why, "; "))
	}
	r.Tables = append(r.Tables, t)
	return found, nil
}

// parseLine takes a line of go test -bench apart. It returns nil for another line.
func parseLine(line string) (string, figures) {
	f := strings.Fields(line)
	if len(f) < 4 || !strings.HasPrefix(f[0], "Benchmark") {
		return "", nil
	}
	name := strings.TrimPrefix(f[0], "Benchmark")
	if at := strings.LastIndexByte(name, '-'); at > 0 { // the number of processors
		if _, err := strconv.Atoi(name[at+1:]); err == nil {
			name = name[:at]
		}
	}
	if _, rest, ok := strings.Cut(name, "/"); ok {
		name = rest
	}
	found := figures{}
	for i := 2; i+1 < len(f); i += 2 {
		v, err := strconv.ParseFloat(f[i], 64)
		if err != nil {
			return "", nil
		}
		found[f[i+1]] = v
	}
	return name, found
}

// values returns the figures in the order of columns.
func (f figures) values(columns []string) (v []float64) {
	for _, c := range columns {
		x, ok := f[c]
		if !ok {
			x = -1
		}
		v = append(v, x)
	}
	return v
}
