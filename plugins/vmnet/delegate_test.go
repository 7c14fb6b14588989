package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	types100 "github.com/containernetworking/cni/pkg/types/100"
)

// An ipamScript is an IPAM plugin in the shell. It writes down every call, then
// does what the case says.
type ipamScript struct{ dir string }

const goodLease = `{"cniVersion":"1.1.0","ips":[{"address":"10.7.0.9/24","gateway":"10.7.0.1"}],
	"routes":[{"dst":"0.0.0.0/0"},{"dst":"10.8.0.0/16","gw":"10.7.0.2","mtu":1400}],"dns":{"nameservers":["10.7.0.53"],"domain":"d.ipam","search":["s.ipam"]}}`

// newIPAM makes a plugin named "script" that runs the shell text for each verb;
// "*" is for those that are not named.
func newIPAM(t testing.TB, verbs map[string]string) ipamScript {
	t.Helper()
	s := ipamScript{t.TempDir()}
	var b strings.Builder
	b.WriteString("#!/bin/sh\nd=" + s.dir + "\necho $CNI_COMMAND >> $d/calls\nenv | sort > $d/env.$CNI_COMMAND\ncat > $d/stdin.$CNI_COMMAND\ncase $CNI_COMMAND in\n")
	for verb, text := range verbs {
		b.WriteString(verb + ")\n" + text + "\n;;\n")
	}
	b.WriteString("esac\n")
	if err := os.WriteFile(filepath.Join(s.dir, "script"), []byte(b.String()), 0o755); err != nil {
		t.Fatal(err)
	}
	return s
}

func prints(doc string) string { return "cat <<'END'\n" + doc + "\nEND" }

func (s ipamScript) calls(t testing.TB) []string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(s.dir, "calls"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.Fields(string(data))
}

func (s ipamScript) read(t testing.TB, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

var delegated = map[string]any{"ipam": raw(`{"type":"script","any":{"thing":[1,2]}}`)}

// The delegate gets the environment and stdin as they came, for every verb, and
// what it says is in the request and in the result.
func TestDelegate(t *testing.T) {
	emptyDirs(t)
	fake := newFakeShim(t)
	s := newIPAM(t, map[string]string{"ADD": prints(goodLease)})
	env := map[string]string{"CNI_PATH": "/nonexistent:" + s.dir, "CNI_ARGS": "IgnoreUnknown=1;X=y", "TRACEPARENT": "00-1-2-03"}
	// Spaces, order and unknown inner keys must come through.
	add := strings.Replace(conf(t, fake.path, delegated), `"cniVersion"`, "\n\t \"cniVersion\" ", 1)
	out := succeeds(t, "ADD", env, add)
	if got := s.read(t, "stdin.ADD"); got != add {
		t.Errorf("stdin of ADD:\n%s\nwant\n%s", got, add)
	}
	for key, want := range map[string]string{
		"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "vm1", "CNI_IFNAME": "eth0", "CNI_NETNS": "vm://vm1",
		"CNI_PATH": env["CNI_PATH"], "CNI_ARGS": env["CNI_ARGS"], "TRACEPARENT": "00-1-2-03",
	} {
		if !strings.Contains("\n"+s.read(t, "env.ADD"), "\n"+key+"="+want+"\n") {
			t.Errorf("environment of ADD has no %s=%s", key, want)
		}
	}
	req := fake.reqs["shared/vm1/eth0"]
	if !slices.Equal(req.IPs, []string{"10.7.0.9/24"}) || req.Gateway.String() != "10.7.0.1" || len(req.Routes) != 2 ||
		req.Network.IPAM != "delegated" || req.Network.Subnet.String() != "10.7.0.0/24" || req.Network.Gateway.String() != "10.7.0.1" {
		t.Errorf("request = %+v", req)
	}
	if req.Routes[0].GW.String() != "10.7.0.1" || req.Routes[1].GW.String() != "10.7.0.2" || req.DNS.Domain != "d.ipam" || req.DNS.Nameservers[0] != "10.7.0.53" {
		t.Errorf("request: routes %+v, dns %+v", req.Routes, req.DNS)
	}
	var r types100.Result
	oneDocument(t, out, &r)
	if len(r.Interfaces) != 1 || *r.IPs[0].Interface != 0 || len(r.Routes) != 2 || r.Routes[1].MTU != 1400 || r.Routes[0].GW != nil {
		t.Errorf("result = %s", out)
	}
	with := conf(t, fake.path, map[string]any{"ipam": delegated["ipam"], "prevResult": raw(out)})
	succeeds(t, "CHECK", env, with)
	succeeds(t, "STATUS", env, add)
	gc := conf(t, fake.path, map[string]any{"ipam": delegated["ipam"], "cni.dev/valid-attachments": raw(`[{"containerID":"vm1","ifname":"eth0"}]`)})
	succeeds(t, "GC", env, gc)
	succeeds(t, "DEL", env, with)
	if s.read(t, "stdin.GC") != gc || s.read(t, "stdin.CHECK") != with || s.read(t, "stdin.DEL") != with {
		t.Error("the delegate did not get the stdin of GC, CHECK or DEL as it came")
	}
	if got := s.calls(t); !slices.Equal(got, []string{"ADD", "CHECK", "STATUS", "GC", "DEL"}) {
		t.Errorf("calls = %v", got)
	}
}

// Addresses of both IP versions, or of IPv6 alone, reach the shim and the result.
func TestDelegate6(t *testing.T) {
	emptyDirs(t)
	for _, tt := range []struct {
		name, lease string
		ips         []string
		ipv4        string
		routes      int
	}{
		{"both", `{"ips":[{"address":"fd00:7::9/64","gateway":"fd00:7::1"},{"address":"10.7.0.9/24"}],"routes":[{"dst":"0.0.0.0/0"},{"dst":"::/0"}]}`,
			[]string{"10.7.0.9/24", "fd00:7::9/64"}, "", 2},
		{"IPv6 alone", `{"ips":[{"address":"fd00:7::9/64","gateway":"fd00:7::1"}],"routes":[{"dst":"::/0"}]}`, []string{"fd00:7::9/64"}, "none", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fake := newFakeShim(t)
			s := newIPAM(t, map[string]string{"ADD": prints(tt.lease)})
			out := succeeds(t, "ADD", map[string]string{"CNI_PATH": s.dir}, conf(t, fake.path, delegated))
			req := fake.reqs["shared/vm1/eth0"]
			if !slices.Equal(req.IPs, tt.ips) || req.Gateway6.String() != "fd00:7::1" || req.Network.Subnet6.String() != "fd00:7::/64" || req.Network.IPv4 != tt.ipv4 {
				t.Errorf("request = %+v", req)
			}
			if len(req.Routes) != tt.routes || req.Routes[tt.routes-1].GW.String() != "fd00:7::1" {
				t.Errorf("routes = %+v", req.Routes)
			}
			var r types100.Result
			oneDocument(t, out, &r)
			if len(r.Routes) != tt.routes {
				t.Errorf("result = %s", out)
			}
		})
	}
}

// Whatever goes wrong, the delegate hears DEL, the shim has nothing, and the
// answer has the delegate's code and message.
func TestDelegateFails(t *testing.T) {
	long := "head -c 2000000 /dev/zero"
	lease := func(ip string) map[string]string { return map[string]string{"ADD": prints(`{"ips":[` + ip + `]}`)} }
	for _, tt := range []struct {
		name  string
		verbs map[string]string
		keys  map[string]any
		env   map[string]string
		fails error // of the shim's PUT
		short bool
		code  uint
		want  string
	}{
		{name: "error", verbs: map[string]string{"ADD": prints(`{"cniVersion":"1.1.0","code":11,"msg":"pool is busy","details":"d"}`) + "\nexit 1"}, code: 11, want: "pool is busy"},
		{name: "own code", verbs: map[string]string{"ADD": prints(`{"code":123,"msg":"no luck"}`) + "\nexit 7"}, code: 123, want: "ipam script: no luck"},
		{name: "code 0", verbs: map[string]string{"ADD": prints(`{"code":0,"msg":"no luck"}`) + "\nexit 1"}, code: 999, want: "ipam script: no luck"},
		{name: "no document", verbs: map[string]string{"ADD": "echo oops; exit 3"}, code: 999, want: "exit status 3"},
		{name: "killed by itself", verbs: map[string]string{"ADD": "kill -9 $$"}, code: 999, want: "killed"},
		{name: "garbage", verbs: map[string]string{"ADD": "echo hello"}, code: 6, want: "hello"},
		{name: "nothing", verbs: map[string]string{"ADD": ":"}, code: 6, want: "ADD printed"},
		{name: "two documents", verbs: map[string]string{"ADD": prints(goodLease + "{}")}, code: 6, want: "ADD printed"},
		{name: "version unknown", verbs: map[string]string{"ADD": prints(`{"cniVersion":"7.0.0","ips":[]}`)}, code: 6, want: "7.0.0"},
		{name: "too long", verbs: map[string]string{"ADD": long}, code: 6, want: "more than 1048576 bytes"},
		{name: "hangs", verbs: map[string]string{"ADD": "exec sleep 60"}, short: true, code: 11, want: "killed"},
		{name: "no address", verbs: lease(""), code: 7, want: "gave no address"},
		{name: "IPv6 of another length", verbs: lease(`{"address":"fd00::2/48"}`), code: 7, want: "64 bits"},
		{name: "IPv6 without IPv6", verbs: lease(`{"address":"fd00::2/64"}`), keys: map[string]any{"ipv6": "none"}, code: 7, want: "ipv6 is none"},
		{name: "IPv4 without IPv4", verbs: lease(`{"address":"10.7.0.9/24"},{"address":"fd00::2/64"}`), keys: map[string]any{"ipv4": "none"}, code: 7, want: "ipv4 is none"},
		{name: "the IPv6 gateway's", verbs: lease(`{"address":"fd00::1/64"}`), code: 7, want: "another than the gateway's"},
		{name: "another IPv6 gateway", verbs: lease(`{"address":"fd00::2/64","gateway":"fd00::9"}`), code: 7, want: "want the network's, fd00::1"},
		{name: "gateway of the other version", verbs: lease(`{"address":"fd00::2/64","gateway":"10.0.0.1"}`), code: 7, want: "IP version"},
		{name: "another subnet6", verbs: lease(`{"address":"fd00::2/64"}`), keys: map[string]any{"subnet6": "fd01::/64"}, code: 7, want: "subnet6 fd01::/64"},
		{name: "two IPv6 addresses", verbs: lease(`{"address":"fd00::2/64"},{"address":"fd00::3/64"}`), code: 2, want: "fd00::3/64"},
		{name: "the host's IPv6 loopback", verbs: lease(`{"address":"fd00::ffff:ffff:ffff:ffff/64"}`), keys: map[string]any{"hostLoopback": true}, code: 7, want: "hostLoopback"},
		{name: "narrow IPv6 route", verbs: map[string]string{"ADD": prints(`{"ips":[{"address":"fd00::2/64"}],"routes":[{"dst":"fd01::/64"}]}`)}, code: 2, want: "default route only"},
		{name: "bridged IPv6", verbs: lease(`{"address":"fd00::2/64"}`), keys: map[string]any{"mode": "bridged", "uplink": "en0"}, code: 2, want: "mode bridged"},
		{name: "two addresses", verbs: lease(`{"address":"10.7.0.9/24"},{"address":"10.7.0.10/24"}`), code: 2, want: "10.7.0.10/24"},
		{name: "no length", verbs: lease(`{"address":"10.7.0.9/32"}`), code: 7, want: "prefix length of 8 to 29"},
		{name: "broadcast", verbs: lease(`{"address":"10.7.0.255/24"}`), code: 7, want: "10.7.0.1 to 10.7.0.254"},
		{name: "loopback", verbs: lease(`{"address":"127.0.0.9/24"}`), code: 7, want: "unicast"},
		{name: "another subnet", verbs: lease(`{"address":"10.7.0.9/24"}`), keys: map[string]any{"subnet": "10.6.0.0/24"}, code: 7, want: "10.6.0.0/24"},
		{name: "another length", verbs: lease(`{"address":"10.7.0.9/25"}`), keys: map[string]any{"subnet": "10.7.0.0/24"}, code: 7, want: "10.7.0.0/24"},
		{name: "the gateway's", verbs: lease(`{"address":"10.7.0.1/24"}`), code: 7, want: "another than the gateway's"},
		{name: "another gateway", verbs: lease(`{"address":"10.7.0.9/24","gateway":"10.7.0.3"}`), keys: map[string]any{"subnet": "10.7.0.0/24", "gateway": "10.7.0.1"}, code: 7, want: "gateway 10.7.0.3"},
		{name: "gateway outside", verbs: lease(`{"address":"10.7.0.9/24","gateway":"10.9.0.1"}`), code: 7, want: "gateway 10.9.0.1"},
		{name: "the host's loopback", verbs: lease(`{"address":"10.7.0.254/24"}`), keys: map[string]any{"hostLoopback": true}, code: 7, want: "hostLoopback"},
		{name: "IPv6 route", verbs: map[string]string{"ADD": prints(`{"ips":[{"address":"10.7.0.9/24"}],"routes":[{"dst":"::/0"}]}`)}, code: 2, want: "route"},
		{name: "not what was asked for", verbs: lease(`{"address":"10.7.0.9/24"}`), env: map[string]string{"CNI_ARGS": "IP=10.7.0.20"}, code: 100, want: "CNI_ARGS IP"},
		{name: "shim refuses", verbs: map[string]string{"ADD": prints(goodLease)}, fails: errors.New("x"), code: 999, want: "attach"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			runtime, _ := emptyDirs(t)
			fake := newFakeShim(t)
			fake.set("PUT", tt.fails)
			s := newIPAM(t, tt.verbs)
			keys := map[string]any{"ipam": delegated["ipam"]}
			for k, v := range tt.keys {
				keys[k] = v
			}
			stdin := conf(t, fake.path, keys)
			if tt.short {
				stdin = strings.Replace(stdin, `"timeout":"60s"`, `"timeout":"2s"`, 1)
			}
			env := map[string]string{"CNI_PATH": s.dir}
			for k, v := range tt.env {
				env[k] = v
			}
			start := time.Now()
			got := runVerb(t, "ADD", env, strings.NewReader(stdin))
			if took := time.Since(start); took > 30*time.Second { // half of the delegate that hangs
				t.Errorf("took %v", took)
			}
			var e cniError
			oneDocument(t, got.stdout, &e)
			if tt.name == "shim refuses" {
				tt.want = ""
			}
			if e.Code != tt.code || !strings.Contains(e.Msg, tt.want) {
				t.Errorf("code %d, %q: want %d, %q", e.Code, e.Msg, tt.code, tt.want)
			}
			if calls := s.calls(t); !slices.Equal(calls, []string{"ADD", "DEL"}) {
				t.Errorf("calls = %v: want ADD and its DEL", calls)
			}
			if s.read(t, "stdin.DEL") != stdin {
				t.Error("the delegate did not get the stdin of ADD with DEL")
			}
			if fake.count() != 0 {
				t.Error("an attachment is left")
			}
			for _, f := range files(t, runtime) {
				if strings.HasSuffix(f, ".lock") {
					t.Errorf("%s is left", f)
				}
			}
		})
	}
}

// DEL and GC do what they can, and say what they could not. The interface goes
// first; while it is there its address stays reserved.
func TestDelegateErrorsOfOtherVerbs(t *testing.T) {
	emptyDirs(t)
	refusal := prints(`{"code":11,"msg":"not now"}`) + "\nexit 1"
	s := newIPAM(t, map[string]string{"ADD": prints(goodLease), "DEL": refusal, "CHECK": refusal, "GC": refusal, "STATUS": refusal})
	fake := newFakeShim(t)
	env := map[string]string{"CNI_PATH": s.dir}
	c := conf(t, fake.path, delegated)
	out := succeeds(t, "ADD", env, c)
	fails := func(verb, stdin string) cniError {
		t.Helper()
		got := runVerb(t, verb, env, strings.NewReader(stdin))
		var e cniError
		oneDocument(t, got.stdout, &e)
		if got.code == 0 || e.Code != 11 || !strings.Contains(e.Msg, "not now") {
			t.Errorf("%s: %s", verb, got.stdout)
		}
		return e
	}
	fails("CHECK", conf(t, fake.path, map[string]any{"ipam": delegated["ipam"], "prevResult": raw(out)}))
	fails("STATUS", c)
	fails("GC", conf(t, fake.path, map[string]any{"ipam": delegated["ipam"], "cni.dev/valid-attachments": raw(`[]`)}))
	if fake.count() != 0 {
		t.Error("GC left the interface since the delegate did not want")
	}
	succeeds(t, "ADD", env, c)
	fails("DEL", c)
	if fake.count() != 0 {
		t.Error("DEL left the interface since the delegate did not want")
	}
	// The other way round: the shim does not let go.
	succeeds(t, "ADD", env, c)
	before := len(s.calls(t))
	fake.set("DELETE", errHang)
	got := runVerb(t, "DEL", env, strings.NewReader(strings.Replace(c, `"timeout":"60s"`, `"timeout":"200ms"`, 1)))
	if got.code == 0 || len(s.calls(t)) != before {
		t.Errorf("DEL with a hanging shim: %s, calls %v", got.stdout, s.calls(t)[before:])
	}
}

// What the delegate writes to stderr comes out of ours; a child of its own that
// keeps stdout does not keep ADD.
func TestDelegateOutput(t *testing.T) {
	emptyDirs(t)
	s := newIPAM(t, map[string]string{"ADD": "echo from the delegate >&2; sleep 60 2>/dev/null & echo $! > $d/child\n" + prints(goodLease)})
	fake := newFakeShim(t)
	start := time.Now()
	got := runVerb(t, "ADD", map[string]string{"CNI_PATH": s.dir}, strings.NewReader(conf(t, fake.path, delegated)))
	if got.code != 0 || got.stderr != "from the delegate\n" {
		t.Errorf("%+v", got)
	}
	if took := time.Since(start); took > 30*time.Second { // half of the child's
		t.Errorf("took %v", took)
	}
	var child int
	if _, err := fmt.Sscan(s.read(t, "child"), &child); err != nil {
		t.Fatal(err)
	}
	_ = syscall.Kill(child, syscall.SIGKILL)
}

// A delegate of an ADD that was killed still runs: DEL waits for it.
func TestDelegateLock(t *testing.T) {
	emptyDirs(t)
	s := newIPAM(t, map[string]string{"ADD": "sleep 0.4; echo late >> $d/calls"})
	c := &call{conf: &config{Name: "shared", Delegate: "script"}, env: env{ContainerID: "vm1", IfName: "eth0", Command: "ADD"},
		environ: []string{"CNI_PATH=" + s.dir, "PATH=/bin:/usr/bin"}, log: newVerbLog("ADD", io.Discard)}
	d, err := c.ipam()
	if err != nil {
		t.Fatal(err)
	}
	lock, err := c.lockDelegate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(d.path) // as run does it
	cmd.Env = append(d.environ, "CNI_COMMAND=ADD")
	cmd.ExtraFiles = []*os.File{lock.file}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lock.file.Close() // as a kill does; the file stays
	c.env.Command = "DEL"
	if err := c.ipamDel(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := s.calls(t); !slices.Equal(got, []string{"ADD", "late", "DEL"}) {
		t.Errorf("calls = %v", got)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	dirs, _ := os.ReadDir(os.Getenv("VMNET_RUNTIME_DIR"))
	for _, e := range dirs {
		if strings.HasSuffix(e.Name(), ".lock") {
			t.Errorf("%s is left", e.Name())
		}
	}
}
