package server_test

import (
	"strings"
	"testing"

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
