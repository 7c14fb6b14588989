package libvmnet_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/conformance/libvmnet"
)

// TestC runs every case of the C tests, each in a process of its own; those that
// misuse the library must end by its abort, with a message that says why.
func TestC(t *testing.T) {
	for _, mode := range []struct {
		name string
		cfg  libvmnet.Config
	}{
		{"plain", libvmnet.Config{}},
		{"sanitizer", libvmnet.Config{Sanitize: true}},
	} {
		t.Run(mode.name, func(t *testing.T) {
			lib := libvmnet.Build(t, mode.cfg)
			list, err := exec.Command(lib.Tests).Output()
			if err != nil {
				t.Fatalf("list cases: %v", err)
			}
			for _, line := range strings.Split(strings.TrimSpace(string(list)), "\n") {
				name, abort, _ := strings.Cut(line, "\t")
				t.Run(name, func(t *testing.T) { runCase(t, lib, name, abort) })
			}
		})
	}
}

// runCase runs one case; abort is the text that the message of its end holds.
func runCase(t *testing.T, lib libvmnet.Library, name, abort string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, lib.Tests, name)
	cmd.Env = cleanEnv()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if abort == "" {
		if err != nil {
			t.Fatalf("%v\n%s", err, &out)
		}
		return
	}
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() || status.Signal() != syscall.SIGABRT {
		t.Fatalf("got %v, want an abort\n%s", err, &out)
	}
	if !strings.Contains(out.String(), abort) {
		t.Fatalf("message: got %q, want it to hold %q", &out, abort)
	}
}

// cleanEnv is the environment without this library's variables.
func cleanEnv(more ...string) []string {
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "LIBVMNET_") {
			env = append(env, v)
		}
	}
	return append(env, more...)
}

// TestControlsFromEnvironment gives controls to a process that does not know them.
func TestControlsFromEnvironment(t *testing.T) {
	lib := libvmnet.Build(t, libvmnet.Config{})
	run := func(controls string) (string, error) {
		cmd := exec.Command(lib.Tests, "role_no_broker") // wants a start that fails
		cmd.Env = cleanEnv("LIBVMNET_TEST=" + controls)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := run("privilege=0,events=1"); err != nil {
		t.Errorf("privilege=0: %v\n%s", err, out)
	}
	if out, err := run("fail.start=1001"); err != nil {
		t.Errorf("fail.start=1001: %v\n%s", err, out)
	}
	for _, bad := range []string{"nonsense=1", "privilege", "privilege=x"} {
		if out, err := run(bad); err == nil || !strings.Contains(out, "LIBVMNET_TEST: ") {
			t.Errorf("%s: got %v %q, want a refusal", bad, err, out)
		}
	}
}
