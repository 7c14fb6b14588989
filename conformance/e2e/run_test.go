package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestRun has vmnet-shim run a guest that is a program with its frames on fd 3.
func TestRun(t *testing.T) {
	for _, kind := range []string{"dgram", "stream"} {
		t.Run(kind, func(t *testing.T) {
			m := newMachine(t, nil)
			page := hostPage(t)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, filepath.Join(bin, "vmnet-shim"),
				"run", "--frames", kind, "--host-loopback", "--subnet", "192.168.222.0/24", "--",
				filepath.Join(bin, "vmnet-guest"), "-output", "json", "-hostname", "program",
				"-lookup", "gateway.vm.internal", "-get", fmt.Sprintf("http://192.168.222.254:%d/", page))
			cmd.Env = append(os.Environ(), "VMNET_RUNTIME_DIR="+m.Dirs.Runtime, "VMNET_STATE_DIR="+m.Dirs.State)
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			if err := cmd.Run(); err != nil {
				t.Fatalf("%v: %s%s", err, stdout.Bytes(), stderr.Bytes())
			}
			var did []string
			for d := json.NewDecoder(&stdout); d.More(); {
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
				did = append(did, step.Step)
			}
			if got, want := fmt.Sprint(did), "[dhcp arp ping dns http]"; got != want {
				t.Errorf("steps %s, want %s", got, want)
			}
		})
	}
}
