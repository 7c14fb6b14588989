package server_test

import (
	"encoding/json"
	"os"
	"os/exec"
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

// TestDashboard checks that what the dashboard asks for exists.
func TestDashboard(t *testing.T) {
	text := exposition(t)
	data, err := os.ReadFile("../../../packaging/grafana/vmnet-shim.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
		Templating struct{ List []struct{ Query any } }
	}
	if err := json.Unmarshal(data, &board); err != nil {
		t.Fatal(err)
	}
	name := regexp.MustCompile(`\b(?:vmnet|process|go)_[a-z_]+\b`)
	label := regexp.MustCompile(`[{,(]\s*([a-z_]+)\s*=~?"`)
	n := 0
	for _, p := range board.Panels {
		for _, target := range p.Targets {
			for _, m := range name.FindAllString(target.Expr, -1) {
				n++
				if !strings.Contains(text, "\n"+m+"{") && !strings.Contains(text, "\n"+m+" ") {
					t.Errorf("panel %s: no metric %s", p.Title, m)
				}
				for _, l := range label.FindAllStringSubmatch(target.Expr, -1) {
					if !regexp.MustCompile(`(?m)^` + m + `\{.*` + l[1] + `="`).MatchString(text) {
						t.Errorf("panel %s: metric %s has no label %s", p.Title, m, l[1])
					}
				}
			}
		}
	}
	if n < 10 {
		t.Errorf("%d metrics in the dashboard", n)
	}
}
