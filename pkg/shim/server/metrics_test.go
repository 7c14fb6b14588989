package server_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/vmnet-cni/vmnet/internal/require"
	"github.com/vmnet-cni/vmnet/pkg/shim"
)

func TestMetrics(t *testing.T) {
	r := start(t, config(newDirs(t)))
	r.attach("n", "c", shim.AttachRequest{})
	m, f, err := r.Frames(t.Context(), "n", "c", "eth0")
	if err != nil {
		t.Fatal(err)
	}
	guest := conn(t, f)
	offered(t, m, guest)
	if _, err := guest.Write([]byte("short")); err != nil {
		t.Fatal(err)
	}
	var got answer
	want := []string{
		"vmnet_attachments 1", "vmnet_networks 1", "vmnet_attachments_broken 0",
		`vmnet_attachment_connected{container_id="c",ifname="eth0",network="n"} 1`,
		`vmnet_answered_total{container_id="c",ifname="eth0",network="n"} 1`,
		`vmnet_frames_total{container_id="c",direction="from_guest",ifname="eth0",network="n"} `,
		`vmnet_bytes_total{container_id="c",direction="to_guest",ifname="eth0",network="n"} `,
		`vmnet_queued_bytes{container_id="c",direction="to_guest",ifname="eth0",network="n"} 0`,
		`vmnet_drops_total{container_id="c",direction="from_guest",ifname="eth0",network="n",reason="runt"} 1`,
	}
	eventually(t, func() bool {
		got = r.do("GET", "/metrics", "")
		for _, w := range want {
			if !strings.Contains(got.body, w) {
				return false
			}
		}
		return got.status == 200 && strings.HasPrefix(got.header.Get("Content-Type"), "text/plain")
	}, func() string { return got.body })
}

// exposition returns /metrics of a shim with an attachment that has a guest and
// drops.
func exposition(t *testing.T) string {
	t.Helper()
	r := start(t, config(newDirs(t)))
	r.attach("n", "c", shim.AttachRequest{})
	_, f, err := r.Frames(t.Context(), "n", "c", "eth0")
	if err != nil {
		t.Fatal(err)
	}
	guest := conn(t, f)
	if _, err := guest.Write([]byte("short")); err != nil {
		t.Fatal(err)
	}
	var got answer
	eventually(t, func() bool {
		got = r.do("GET", "/metrics", "")
		return strings.Contains(got.body, `reason="runt"`)
	}, func() string { return got.body })
	return got.body
}

// TestPromtool has Prometheus' own tool judge /metrics.
func TestPromtool(t *testing.T) {
	cmd := exec.Command(require.UnpackedTool(t, "prometheus", "usr/bin/promtool"), "check", "metrics")
	cmd.Stdin = strings.NewReader(exposition(t))
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool: %v\n%s", err, out)
	}
}

// A query is one of the dashboard, and where it stands.
type query struct{ where, expr, legend string }

// dashboard returns the queries of the dashboard's panels and variables.
func dashboard(t *testing.T) (list []query) {
	t.Helper()
	data, err := os.ReadFile("../../../packaging/grafana/vmnet-shim.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr, LegendFormat string }
		}
		Templating struct {
			List []struct {
				Name, Type string
				Query      json.RawMessage
			}
		}
	}
	if err := json.Unmarshal(data, &board); err != nil {
		t.Fatal(err)
	}
	for _, p := range board.Panels {
		for _, target := range p.Targets {
			list = append(list, query{"panel " + p.Title, target.Expr, target.LegendFormat})
		}
	}
	for _, v := range board.Templating.List {
		var of struct{ Query string }
		if v.Type != "query" {
			continue
		}
		if err := json.Unmarshal(v.Query, &of); err != nil {
			t.Fatal(err)
		}
		m := regexp.MustCompile(`^label_values\((.*), ([a-z_]+)\)$`).FindStringSubmatch(of.Query)
		if m == nil {
			t.Fatalf("variable %s: %s", v.Name, of.Query)
		}
		list = append(list, query{"variable " + v.Name, m[1], "{{" + m[2] + "}}"})
	}
	if len(list) < 15 {
		t.Fatalf("%d queries in the dashboard", len(list))
	}
	return list
}

// TestDashboard checks that what the dashboard asks for exists: metrics, and the
// labels by which it chooses, sums and names.
func TestDashboard(t *testing.T) {
	text := exposition(t)
	name := regexp.MustCompile(`\b(?:vmnet|process|go)_[a-z_]+\b`)
	label := regexp.MustCompile(`[{,(]\s*([a-z_]+)\s*=~?"`)
	by := regexp.MustCompile(`\b(?:by|without) \(([^)]*)\)`)
	legend := regexp.MustCompile(`\{\{([^}]*)\}\}`)
	for _, q := range dashboard(t) {
		var labels []string
		for _, m := range append(label.FindAllStringSubmatch(q.expr, -1), legend.FindAllStringSubmatch(q.legend, -1)...) {
			labels = append(labels, m[1])
		}
		for _, m := range by.FindAllStringSubmatch(q.expr, -1) {
			labels = append(labels, strings.Split(m[1], ", ")...)
		}
		metrics := name.FindAllString(by.ReplaceAllString(q.expr, ""), -1)
		if len(metrics) != 1 {
			t.Errorf("%s: metrics %q in %s", q.where, metrics, q.expr)
		}
		for _, m := range metrics {
			if !strings.Contains(text, "\n"+m+"{") && !strings.Contains(text, "\n"+m+" ") {
				t.Errorf("%s: no metric %s", q.where, m)
			}
			for _, l := range labels {
				if !regexp.MustCompile(`(?m)^` + m + `\{.*\b` + l + `="`).MatchString(text) {
					t.Errorf("%s: metric %s has no label %s", q.where, m, l)
				}
			}
		}
	}
}

// TestDashboardQueries has Prometheus' own tool read the dashboard's queries, as
// rules.
func TestDashboardQueries(t *testing.T) {
	promtool := require.UnpackedTool(t, "prometheus", "usr/bin/promtool")
	var rules []map[string]string
	vars := strings.NewReplacer("$__rate_interval", "5m", "$network", ".*", "$container", ".*")
	for i, q := range dashboard(t) {
		rules = append(rules, map[string]string{"record": fmt.Sprintf("query_%d", i), "expr": vars.Replace(q.expr)})
	}
	data, err := json.Marshal(map[string]any{"groups": []any{map[string]any{"name": "dashboard", "rules": rules}}}) // JSON is YAML
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(promtool, "check", "rules", file).CombinedOutput(); err != nil || !strings.Contains(string(out), fmt.Sprintf("%d rules found", len(rules))) {
		t.Errorf("promtool: %v\n%s", err, out)
	}
}
