package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestRun has vmnet-shim run a guest that is a program with its frames on fd 3.
func TestRun(t *testing.T) {
	inWorlds(t, func(t *testing.T, w *world) {
		for _, kind := range []string{"dgram", "stream"} {
			t.Run(kind, func(t *testing.T) { runProgram(t, w, kind) })
		}
	})
}

func runProgram(t *testing.T, w *world, kind string) {
	m := w.machine(t, nil)
	page := w.page(t, netip.MustParsePrefix(macSubnet))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	args := []string{"run", "--frames", kind, "--subnet", macSubnet}
	if d, ok := w.keys["driver"].(string); ok {
		args = append(args, "--driver", d)
	}
	if w.keys["hostLoopback"] == true {
		args = append(args, "--host-loopback")
	}
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "vmnet-shim"), append(args, "--",
		filepath.Join(bin, "vmnet-guest"), "-output", "json", "-hostname", "program",
		"-lookup", "gateway.vm.internal", "-get", fmt.Sprintf("http://%s/", page))...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := m.Run(cmd); err != nil {
		t.Fatalf("%v: %s%s", err, stdout.Bytes(), stderr.Bytes())
	}
	if got, want := fmt.Sprint(steps(t, &stdout)), "[dhcp arp ping dns http]"; got != want {
		t.Errorf("steps %s, want %s", got, want)
	}
}

// steps reads what the guest did, each of which must have worked.
func steps(t *testing.T, r io.Reader) (names []string) {
	for d := json.NewDecoder(r); d.More(); {
		var step struct {
			Step, Detail string
			OK           bool
		}
		if err := d.Decode(&step); err != nil {
			t.Fatal(err)
		}
		if !step.OK {
			t.Errorf("%+v", step)
		}
		names = append(names, step.Step)
	}
	return names
}
