package libvmnet_test

import (
	"bufio"
	"bytes"
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/conformance/libvmnet"
)

// A role is a process of the C tests' program that plays one part of a case.
type role struct {
	cmd   *exec.Cmd
	stdin io.Closer
	said  string // its first line
	errs  bytes.Buffer
}

// play starts a role and waits for its first line; the role ends with the test.
func play(t *testing.T, lib libvmnet.Library, broker, name string, args ...string) *role {
	t.Helper()
	r := &role{cmd: exec.Command(lib.Tests, append([]string{name}, args...)...)}
	r.cmd.Env = cleanEnv(broker)
	r.cmd.Stderr = &r.errs
	stdin, err := r.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	r.stdin = stdin
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	t.Cleanup(func() { _ = r.cmd.Process.Kill(); _ = r.cmd.Wait() })
	timer := time.AfterFunc(2*time.Minute, func() { _ = r.cmd.Process.Kill() })
	defer timer.Stop()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		_ = r.cmd.Wait()
		t.Fatalf("%s: %v\n%s", name, err, &r.errs)
	}
	r.said = strings.TrimSpace(line)
	return r
}

// finish lets the role end and wants it to have succeeded.
func (r *role) finish(t *testing.T) {
	t.Helper()
	r.stdin.Close()
	if err := r.cmd.Wait(); err != nil {
		t.Fatalf("%s: %v\n%s", r.cmd, err, &r.errs)
	}
}

// run plays a role that says nothing and ends by itself.
func run(t *testing.T, lib libvmnet.Library, broker, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(lib.Tests, append([]string{name}, args...)...)
	cmd.Env = cleanEnv(broker)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// TestBrokerJoinsProcesses sends frames between processes on one classic network.
func TestBrokerJoinsProcesses(t *testing.T) {
	for _, sanitize := range []bool{false, true} {
		lib := libvmnet.Build(t, libvmnet.Config{Sanitize: sanitize})
		broker := libvmnet.StartBroker(t, lib)
		echo := play(t, lib, broker, "role_echo")
		run(t, lib, broker, "role_call")
		run(t, lib, broker, "role_alone")
		run(t, lib, broker, "role_call")
		echo.finish(t)
	}
}

// TestBrokerLogicalNetwork opens a network by its serialization in another
// process; when its owner is killed, whoever is on it keeps the subnet.
func TestBrokerLogicalNetwork(t *testing.T) {
	lib := libvmnet.Build(t, libvmnet.Config{})
	broker := libvmnet.StartBroker(t, lib)
	owner := play(t, lib, broker, "role_owner")
	joiner := play(t, lib, broker, "role_joiner", owner.said)
	if err := owner.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = owner.cmd.Wait()
	eventually(t, func() error {
		cmd := exec.Command(lib.Tests, "role_late", owner.said)
		cmd.Env = cleanEnv(broker)
		return cmd.Run()
	})
	joiner.finish(t)
	// With the last one the subnet is free again.
	eventually(t, func() error {
		cmd := exec.Command(lib.Tests, "role_owner")
		cmd.Env = cleanEnv(broker)
		return cmd.Run()
	})
}

// eventually calls f until it succeeds, for a minute at most.
func eventually(t *testing.T, f func() error) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for err := f(); err != nil; err = f() {
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// TestBrokerMissing wants a failure of start, not an end of the process.
func TestBrokerMissing(t *testing.T) {
	lib := libvmnet.Build(t, libvmnet.Config{})
	run(t, lib, libvmnet.BrokerEnv+"=/nonexistent/socket", "role_no_broker")
}
