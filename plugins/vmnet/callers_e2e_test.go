package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vmnet-cni/vmnet/internal/port"
	"github.com/vmnet-cni/vmnet/internal/require"
)

// A spy stands where runtimes look for the plugin. It writes down what they send
// and runs the plugin.
type spy struct{ dir, bin string }

func newSpy(t *testing.T, h *host) spy {
	s := spy{t.TempDir(), filepath.Join(t.TempDir(), "bin")}
	script := fmt.Sprintf(`#!/bin/sh
n=$(ls %[1]s | wc -l)
f=%[1]s/$(printf %%03d $n).$CNI_COMMAND
mkdir $f
env | grep ^CNI_ | sort > $f/env
cat > $f/stdin
%[2]s/vmnet < $f/stdin > $f/stdout
rc=$?
cat $f/stdout
exit $rc
`, s.dir, h.bin)
	err := os.Mkdir(s.bin, 0o755)
	if err == nil {
		err = os.WriteFile(filepath.Join(s.bin, "vmnet"), []byte(script), 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// calls returns the verbs in order, and for each the environment and stdin.
func (s spy) calls(t *testing.T) (verbs []string, env, stdin map[string]string) {
	t.Helper()
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	env, stdin = map[string]string{}, map[string]string{}
	for _, e := range entries {
		_, verb, _ := strings.Cut(e.Name(), ".")
		verbs = append(verbs, verb)
		for name, into := range map[string]map[string]string{"env": env, "stdin": stdin} {
			data, err := os.ReadFile(filepath.Join(s.dir, e.Name(), name))
			if err != nil {
				t.Fatal(err)
			}
			into[verb] = string(data)
		}
		t.Logf("%s\n%s%s", verb, env[verb], stdin[verb])
	}
	return verbs, env, stdin
}

// writeConf writes a conflist into a directory of its own.
func writeConf(t *testing.T, capabilities string) (dir string) {
	dir = t.TempDir()
	list := fmt.Sprintf(`{"cniVersion":"1.1.0","name":"shared","plugins":[{"type":"vmnet","capabilities":%s}]}`, capabilities)
	if err := os.WriteFile(filepath.Join(dir, "10-shared.conflist"), []byte(list), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// cnitool, with every one of its verbs. Its gc sends DEL for what its cache has,
// then GC without a list of attachments, and that gets an error which says so: it
// would delete those of other runtimes.
func TestE2ECnitool(t *testing.T) {
	require.Root(t) // its cache is /var/lib/cni
	h := newHost(t)
	s := newSpy(t, h)
	tool := filepath.Join(needReference(t), "cnitool")
	dir := writeConf(t, `{"mac":true,"ips":true}`)
	netns := fmt.Sprintf("/nonexistent/vm-%d", os.Getpid()) // the cache is everybody's
	run := func(verb string, want int) string {
		t.Helper()
		cmd := exec.Command(tool, verb, "shared", netns)
		cmd.Env = append(os.Environ(), "CNI_PATH="+s.bin, "NETCONFPATH="+dir, "CNI_IFNAME=net0",
			"CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAME=pod", `CAP_ARGS={"mac":"02:00:00:00:00:55","ips":["192.168.127.40"]}`)
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		if err := cmd.Run(); cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != want {
			t.Fatalf("cnitool %s: %v: want exit code %d: %s%s", verb, err, want, &stdout, &stderr)
		}
		return stdout.String() + stderr.String()
	}
	run("status", 0)
	out := run("add", 0)
	if r := result(t, out); r.Interfaces[0].Mac != "02:00:00:00:00:55" || r.IPs[0].Address.String() != "192.168.127.40/24" || r.Interfaces[0].SocketPath == "" {
		t.Errorf("add: %s", out)
	}
	run("check", 0)
	if out := run("gc", 1); !strings.Contains(out, "cni.dev/valid-attachments is missing") {
		t.Errorf("gc: %s", out)
	}
	run("del", 0)
	run("del", 0)
	h.clean()
	verbs, env, stdin := s.calls(t)
	if want := []string{"STATUS", "ADD", "CHECK", "DEL", "GC", "DEL", "DEL"}; !slices.Equal(verbs, want) {
		t.Errorf("calls %v: want %v", verbs, want)
	}
	if !strings.Contains(env["ADD"], "CNI_NETNS="+netns+"\n") || !strings.Contains(env["ADD"], "CNI_CONTAINERID=cnitool-") || strings.Contains(stdin["GC"], "cni.dev/") {
		t.Errorf("ADD: %s GC: %s", env["ADD"], stdin["GC"])
	}
}

// containerd's library: several networks at once, capital keys, DEL three times.
func TestE2EGoCNI(t *testing.T) {
	require.Root(t) // its cache is /var/lib/cni
	h := newHost(t)
	s := newSpy(t, h)
	program := filepath.Join(t.TempDir(), "gocni")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Dir = "../../conformance/gocni"
	build.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		needReference(t) // skips where there is no module proxy
		t.Fatalf("go build: %v: %s", err, out)
	}
	port := port.Free(t, 1)[0]
	id := fmt.Sprintf("default-%064x", os.Getpid()) // as long as containerd's; its cache is everybody's
	cmd := exec.Command(program, "-bin", s.bin, "-conf", writeConf(t, `{"portMappings":true,"bandwidth":true,"dns":true,"io.kubernetes.cri.pod-annotations":true,"cgroupPath":true}`),
		"-id", id, "-port", fmt.Sprint(port))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("gocni: %v: %s", err, out)
	}
	var got struct {
		Step   string
		Result struct {
			Interfaces map[string]struct {
				IPConfigs  []struct{ IP, Gateway string }
				Mac        string
				SocketPath string
			}
			DNS []struct{ Nameservers []string }
		}
	}
	for line := range strings.Lines(string(out)) {
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if got.Step == "Setup" {
			break
		}
	}
	i, ok := got.Result.Interfaces["eth0"]
	if !ok || len(i.IPConfigs) == 0 || i.Mac == "" || i.SocketPath == "" || len(got.Result.DNS) == 0 || got.Result.DNS[0].Nameservers[0] != "9.9.9.9" {
		t.Errorf("result: %s", out)
	}
	h.clean()
	verbs, env, stdin := s.calls(t)
	if want := []string{"STATUS", "ADD", "CHECK", "DEL", "DEL", "DEL"}; !slices.Equal(verbs, want) {
		t.Errorf("calls %v: want %v", verbs, want)
	}
	if !strings.Contains(stdin["ADD"], fmt.Sprintf(`"HostPort":%d`, port)) || !strings.Contains(stdin["ADD"], `"IngressRate":10000000`) || !strings.Contains(env["ADD"], "CNI_CONTAINERID="+id) {
		t.Errorf("ADD: %s%s", env["ADD"], stdin["ADD"])
	}
	if strings.Contains(env["DEL"], "CNI_NETNS=vm") {
		t.Errorf("last DEL: %s", env["DEL"])
	}
}
