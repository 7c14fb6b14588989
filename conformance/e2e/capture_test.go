package e2e_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/vmnet-cni/vmnet/internal/require"
)

// TestCapture captures a running guest, and reads the capture with tshark.
func TestCapture(t *testing.T) {
	tshark := require.Tool(t, "tshark")
	m := newMachine(t, nil)
	port, r := push(t, m, "seen")
	file := filepath.Join(t.TempDir(), "frames.pcapng")
	d := startDaemon(t, m, filepath.Join(bin, "vmnet-shim"), "capture", m.Network(), "seen", "eth0", "-w", file)
	wait(t, "a capture", func() bool { fi, err := os.Stat(file); return err == nil && fi.Size() > 0 })
	g := newGuest(t, port, r)
	_, gw := first(t, r)
	const pings = 20
	for range pings {
		mustPing(t, g, gw)
	}
	d.end(t, syscall.SIGINT)

	// It reads a pipe: it may have dropped its privileges, and the directory is ours.
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	read := func(filter string) []string {
		t.Helper()
		cmd := exec.Command(tshark, "-r", "-", "-n", "-Y", filter, "-T", "fields", "-e", "frame.interface_name", "-e", "frame.packet_flags_direction")
		cmd.Stdin = bytes.NewReader(data)
		var errs bytes.Buffer
		cmd.Stderr = &errs
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("tshark: %v\n%s", err, errs.String())
		}
		return strings.Split(strings.TrimSpace(string(out)), "\n")
	}
	for _, c := range []struct {
		filter, direction string
		count             int
		more              bool // may be: a guest asks again when no answer comes in time
	}{
		{"icmp.type == 8", "1", pings, false}, {"icmp.type == 0", "2", pings, false},
		{"dhcp.option.dhcp == 1", "1", 1, true}, {"dhcp.option.dhcp == 5", "2", 1, true},
	} {
		lines := read(c.filter)
		direction := func(text string) bool {
			n, err := strconv.ParseUint(text, 0, 32)
			return err == nil && strconv.FormatUint(n, 10) == c.direction
		}
		if len(lines) != c.count && (!c.more || len(lines) < c.count) {
			t.Errorf("%s: %d frames, want %d", c.filter, len(lines), c.count)
		}
		for _, l := range lines {
			name, dir, _ := strings.Cut(l, "\t")
			if name != m.Network()+"/seen/eth0" || !direction(dir) {
				t.Errorf("%s: frame of %q, direction %q", c.filter, name, dir)
			}
		}
	}
	detach(t, m, "seen", g)
}
