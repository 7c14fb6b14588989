package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/vmnet-cni/vmnet/internal/leak"
	"github.com/vmnet-cni/vmnet/internal/tempdir"
	"github.com/vmnet-cni/vmnet/pkg/handover"
	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// A badCase is one wrong input and the answer that names the culprit.
type badCase struct {
	name string
	verb string            // ADD when empty
	env  map[string]string // "-": not set
	keys map[string]any    // of the configuration; nil removes one
	raw  string            // stdin instead of a configuration
	code uint
	want []string // parts of the message
	// What the runtime behind CNI_NETNS answers; "close" closes, "hang" waits.
	answer string
	fails  map[string]error // of the fake shim
	short  string           // another shim.timeout
}

func TestBadInput(t *testing.T) {
	cases := slices.Concat(badEnvironment, badStdin, badConfig, badRuntimeConfig, badHandover, badShim)
	t.Logf("%d bad inputs", len(cases))
	if len(cases) < 60 {
		t.Errorf("%d bad inputs: want at least 60", len(cases))
	}
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) { testBad(t, tt) })
	}
}

func testBad(t *testing.T, tt badCase) {
	runtime, state := emptyDirs(t)
	fake := newFakeShim(t)
	for what, err := range tt.fails {
		fake.set(what, err)
	}
	verb, env := tt.verb, tt.env
	if verb == "" {
		verb = "ADD"
	}
	if tt.answer != "" {
		env = map[string]string{"CNI_NETNS": answeringRuntime(t, tt.answer)}
	}
	stdin := tt.raw
	if stdin == "" {
		stdin = conf(t, fake.path, tt.keys)
		if tt.short != "" {
			stdin = strings.Replace(stdin, `"timeout":"60s"`, `"timeout":"`+tt.short+`"`, 1)
		}
	}
	before, ignore := openFDs(t), goleak.IgnoreCurrent()
	got := runVerb(t, verb, env, strings.NewReader(stdin))

	var e struct {
		CNIVersion *string
		Code       *uint
		Msg        string
	}
	oneDocument(t, got.stdout, &e)
	if got.code == 0 || e.Code == nil || e.CNIVersion == nil {
		t.Fatalf("exit code %d, stdout %s: want an error with cniVersion and code", got.code, got.stdout)
	}
	if *e.Code != tt.code {
		t.Errorf("code %d: want %d: %s", *e.Code, tt.code, e.Msg)
	}
	for _, part := range tt.want {
		if !strings.Contains(e.Msg, part) {
			t.Errorf("msg %q: want it to name %q", e.Msg, part)
		}
	}
	if n := fake.count(); n != 0 {
		t.Errorf("%d attachments are left", n)
	}
	if left := append(files(t, runtime), files(t, state)...); len(left) != 0 {
		t.Errorf("files are left: %v", left)
	}
	// The fake's side of closed connections goes a moment later.
	waitFor(t, "file descriptors to be closed", func() bool { return openFDs(t) <= before })
	if err := leak.Find(ignore); err != nil {
		t.Errorf("goroutines are left: %v", err)
	}
}

func waitFor(t testing.TB, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %s in time", what)
		}
	}
}

// answeringRuntime is a runtime that takes the frame fd and answers wrongly.
func answeringRuntime(t *testing.T, answer string) string {
	dir, err := tempdir.Make("rt")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "vm.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := l.AcceptUnix()
		if err != nil {
			return
		}
		defer conn.Close()
		_, f, err := handover.Receive(t.Context(), conn)
		if err != nil {
			return
		}
		f.Close()
		if answer == "hang" {
			_, _ = io.ReadAll(conn)
		} else if answer != "close" {
			_, _ = io.WriteString(conn, answer)
		}
	}()
	t.Cleanup(func() { l.Close(); <-done; os.RemoveAll(dir) })
	return path
}

var badEnvironment = []badCase{
	{name: "unknown verb", verb: "BOGUS", code: 4, want: []string{"CNI_COMMAND", `"BOGUS"`}},
	{name: "lower case verb", verb: "add", code: 4, want: []string{"CNI_COMMAND", `"add"`}},
	{name: "no container ID", env: map[string]string{"CNI_CONTAINERID": "-"}, code: 4, want: []string{"CNI_CONTAINERID is missing"}},
	{name: "nothing", env: map[string]string{"CNI_CONTAINERID": "-", "CNI_NETNS": "-", "CNI_IFNAME": "-"}, code: 4,
		want: []string{"CNI_CONTAINERID is missing", "CNI_NETNS is missing", "CNI_IFNAME is missing"}},
	{name: "container ID is a path", env: map[string]string{"CNI_CONTAINERID": "../x"}, code: 4, want: []string{`CNI_CONTAINERID "../x"`, "want letters"}},
	{name: "container ID is not ASCII", env: map[string]string{"CNI_CONTAINERID": "é"}, code: 4, want: []string{`CNI_CONTAINERID "é"`}},
	{name: "container ID and ifname", env: map[string]string{"CNI_CONTAINERID": "_a", "CNI_IFNAME": "a b"}, code: 4,
		want: []string{"CNI_CONTAINERID", `CNI_IFNAME "a b"`}},
	{name: "container ID of 300 bytes", env: map[string]string{"CNI_CONTAINERID": strings.Repeat("a", 300)}, code: 4, want: []string{"CNI_CONTAINERID", "300 bytes"}},
	{name: "ifname of 16 bytes", env: map[string]string{"CNI_IFNAME": "abcdefghijklmnop"}, code: 4, want: []string{"CNI_IFNAME", "16 bytes"}},
	{name: "ifname is a directory", env: map[string]string{"CNI_IFNAME": ".."}, code: 4, want: []string{"CNI_IFNAME"}},
	{name: "ifname for DEL", verb: "DEL", env: map[string]string{"CNI_IFNAME": "a/b"}, code: 4, want: []string{"CNI_IFNAME"}},
	{name: "netns for CHECK", verb: "CHECK", env: map[string]string{"CNI_NETNS": "-"}, code: 4, want: []string{"CNI_NETNS is missing"}},
	{name: "netns is huge", env: map[string]string{"CNI_NETNS": strings.Repeat("x", 5000)}, code: 4, want: []string{"CNI_NETNS", "5000 bytes"}},
	{name: "args without value", env: map[string]string{"CNI_ARGS": "FOO"}, code: 4, want: []string{"CNI_ARGS", `"FOO"`}},
	{name: "args with two equal signs", env: map[string]string{"CNI_ARGS": "A=B=C"}, code: 4, want: []string{"CNI_ARGS", `"A=B=C"`}},
	{name: "args with unknown key", env: map[string]string{"CNI_ARGS": "K8S_POD_NAME=p;FOO=bar"}, code: 4, want: []string{"CNI_ARGS", "FOO=bar", "IgnoreUnknown=1"}},
	{name: "args with bad IgnoreUnknown", env: map[string]string{"CNI_ARGS": "IgnoreUnknown=maybe"}, code: 4, want: []string{"CNI_ARGS", "IgnoreUnknown", `"maybe"`}},
	{name: "args with bad MAC", env: map[string]string{"CNI_ARGS": "MAC=nope"}, code: 4, want: []string{"CNI_ARGS MAC", `"nope"`}},
	{name: "args with bad IP", env: map[string]string{"CNI_ARGS": "IP=300.1.1.1"}, code: 4, want: []string{"CNI_ARGS IP", `"300.1.1.1"`}},
	{name: "args with bad host name", env: map[string]string{"CNI_ARGS": "NERDCTL_CNI_DHCP_HOSTNAME=a b"}, code: 4, want: []string{"NERDCTL_CNI_DHCP_HOSTNAME", `"a b"`}},
}

var badStdin = []badCase{
	{name: "stdin garbage", raw: "hello", code: 6, want: []string{"one JSON object"}},
	{name: "stdin array", raw: "[]", code: 6, want: []string{"one JSON object"}},
	{name: "stdin null", raw: "null", code: 6, want: []string{"not null"}},
	{name: "stdin two objects", raw: `{"cniVersion":"1.1.0","name":"n"}{}`, code: 6, want: []string{"one JSON object"}},
	{name: "stdin cut short", raw: `{"cniVersion":"1.1.0"`, code: 6, want: []string{"unexpected end"}},
	{name: "version a number", keys: map[string]any{"cniVersion": 1.1}, code: 6, want: []string{"cniVersion 1.1"}},
	{name: "version missing", keys: map[string]any{"cniVersion": nil}, code: 1, want: []string{"cniVersion is missing"}},
	{name: "version unknown", keys: map[string]any{"cniVersion": "9.9.9"}, code: 1, want: []string{`"9.9.9"`}},
	{name: "version 0.2.0", keys: map[string]any{"cniVersion": "0.2.0"}, code: 1, want: []string{`"0.2.0"`}},
	{name: "CHECK at 0.3.1", verb: "CHECK", keys: map[string]any{"cniVersion": "0.3.1"}, code: 1, want: []string{"CHECK needs 0.4.0"}},
	{name: "GC at 1.0.0", verb: "GC", keys: map[string]any{"cniVersion": "1.0.0"}, code: 1, want: []string{"GC needs 1.1.0"}},
	{name: "STATUS at 1.0.0", verb: "STATUS", keys: map[string]any{"cniVersion": "1.0.0"}, code: 1, want: []string{"STATUS needs 1.1.0"}},
	{name: "name missing", keys: map[string]any{"name": nil}, code: 7, want: []string{"name is missing"}},
	{name: "name is a path", keys: map[string]any{"name": "../x"}, code: 7, want: []string{`name`, `"../x"`}},
	{name: "name a number", keys: map[string]any{"name": 5}, code: 7, want: []string{"name 5"}},
	{name: "GC without list", verb: "GC", code: 7, want: []string{"cni.dev/valid-attachments is missing"}},
	{name: "GC with a bad list", verb: "GC", keys: map[string]any{"cni.dev/valid-attachments": "x"}, code: 7, want: []string{`cni.dev/valid-attachments "x"`}},
	{name: "GC with a list of nothing", verb: "GC", keys: map[string]any{"cni.dev/valid-attachments": raw(`[{"containerID":"a","ifname":"eth0"},null]`)}, code: 7, want: []string{"cni.dev/valid-attachments null"}},
	{name: "GC with other keys", verb: "GC", keys: map[string]any{"cni.dev/attachments": raw(`[{"container_id":"a","ifname":"eth0"}]`)}, code: 7, want: []string{`cni.dev/attachments {"container_id":"a","ifname":"eth0"}`, "containerID"}},
	{name: "GC without an ifname", verb: "GC", keys: map[string]any{"cni.dev/valid-attachments": raw(`[{"containerID":"a"}]`)}, code: 7, want: []string{`{"containerID":"a"}`}},
	{name: "CHECK without prevResult", verb: "CHECK", code: 7, want: []string{"prevResult is missing"}},
	{name: "CHECK with foreign prevResult", verb: "CHECK", keys: map[string]any{"prevResult": raw(`{"cniVersion":"1.1.0","interfaces":[{"name":"eth1"}]}`)}, code: 7, want: []string{"prevResult", `"eth0"`}},
	{name: "prevResult with null", keys: map[string]any{"prevResult": raw(`{"cniVersion":"1.1.0","interfaces":[null]}`)}, code: 7, want: []string{"prevResult", "null in a list"}},
	{name: "prevResult with null for CHECK", verb: "CHECK", keys: map[string]any{"prevResult": raw(`{"cniVersion":"1.1.0","interfaces":[{"name":"eth0","sandbox":"vm://vm1"}],"ips":[null]}`)}, code: 7, want: []string{"null in a list"}},
	{name: "prevResult a string", keys: map[string]any{"prevResult": "x"}, code: 7, want: []string{`prevResult "x"`}},
	{name: "prevResult has the interface", keys: map[string]any{"prevResult": raw(`{"cniVersion":"1.1.0","interfaces":[{"name":"eth0","sandbox":"vm://vm1"}]}`)},
		code: 100, want: []string{"prevResult", `"eth0"`}},
}

var badConfig = []badCase{
	{name: "unknown key", keys: map[string]any{"foo": raw(`{"bar":1}`)}, code: 2, want: []string{`foo {"bar":1}`}},
	{name: "key in the wrong case", keys: map[string]any{"Mode": "host"}, code: 2, want: []string{`Mode "host"`}},
	{name: "two unknown keys", keys: map[string]any{"b": 2, "a": 1}, code: 2, want: []string{"a 1, b 2"}},
	{name: "unknown key in dns", keys: map[string]any{"dns": raw(`{"servers":[]}`)}, code: 2, want: []string{"dns.servers []"}},
	{name: "unknown key in shim", keys: map[string]any{"shim": raw(`{"addr":"x"}`)}, code: 2, want: []string{`shim.addr "x"`}},
	{name: "unknown key in ipam", keys: map[string]any{"ipam": raw(`{"subnet":"10.0.0.0/24"}`)}, code: 2, want: []string{`ipam.subnet "10.0.0.0/24"`}},
	{name: "unknown key in guard", keys: map[string]any{"guard": raw(`{"arp":true}`)}, code: 2, want: []string{"guard.arp true"}},
	{name: "mode unknown", keys: map[string]any{"mode": "nat"}, code: 7, want: []string{`mode "nat"`, "shared, host or bridged"}},
	{name: "mode a number", keys: map[string]any{"mode": 1}, code: 7, want: []string{"mode 1"}},
	{name: "driver unknown", keys: map[string]any{"driver": "vde"}, code: 7, want: []string{`driver "vde"`, "netstack"}},
	{name: "subnet malformed", keys: map[string]any{"subnet": "10.0.0.0"}, code: 7, want: []string{`subnet "10.0.0.0"`, "192.168.127.0/24"}},
	{name: "subnet with host bits", keys: map[string]any{"subnet": "10.0.0.1/24"}, code: 7, want: []string{`subnet "10.0.0.1/24"`, "10.0.0.0/24"}},
	{name: "subnet of IPv6", keys: map[string]any{"subnet": "fd00::/64"}, code: 7, want: []string{`subnet "fd00::/64"`, "subnet6"}},
	{name: "subnet too small", keys: map[string]any{"subnet": "10.0.0.0/31"}, code: 7, want: []string{`subnet "10.0.0.0/31"`, "8 to 29"}},
	{name: "subnet of loopback", keys: map[string]any{"subnet": "127.0.0.0/24"}, code: 7, want: []string{"subnet", "unicast"}},
	{name: "subnet of multicast", keys: map[string]any{"subnet": "239.0.0.0/24"}, code: 7, want: []string{"subnet", "unicast"}},
	{name: "gateway malformed", keys: map[string]any{"gateway": "x"}, code: 7, want: []string{`gateway "x"`}},
	{name: "gateway without subnet", keys: map[string]any{"gateway": "10.0.0.1"}, code: 7, want: []string{`gateway "10.0.0.1"`, "subnet"}},
	{name: "gateway outside", keys: map[string]any{"subnet": "10.0.0.0/24", "gateway": "10.0.1.1"}, code: 7, want: []string{`gateway "10.0.1.1"`, "10.0.0.1 to 10.0.0.254"}},
	{name: "gateway is the broadcast address", keys: map[string]any{"subnet": "10.0.0.0/24", "gateway": "10.0.0.255"}, code: 7, want: []string{`gateway "10.0.0.255"`}},
	{name: "gateway is the host's loopback", keys: map[string]any{"subnet": "10.0.0.0/24", "gateway": "10.0.0.254", "hostLoopback": true}, code: 7, want: []string{"gateway", "hostLoopback"}},
	{name: "subnet6 of another length", keys: map[string]any{"subnet6": "fd5e:ed00:127::/56"}, code: 7, want: []string{`subnet6 "fd5e:ed00:127::/56"`, "64 bits"}},
	{name: "subnet6 with host bits", keys: map[string]any{"subnet6": "fd5e::1/64"}, code: 7, want: []string{`subnet6 "fd5e::1/64"`, "fd5e::/64"}},
	{name: "subnet6 of IPv4", keys: map[string]any{"subnet6": "10.0.0.0/24"}, code: 7, want: []string{`subnet6 "10.0.0.0/24"`}},
	{name: "subnet6 of multicast", keys: map[string]any{"subnet6": "ff02::/64"}, code: 7, want: []string{`subnet6 "ff02::/64"`, "unique local"}},
	{name: "subnet6 without IPv6", keys: map[string]any{"subnet6": "fd5e::/64", "ipv6": "none"}, code: 7, want: []string{`subnet6 "fd5e::/64"`, "ipv6"}},
	{name: "subnet6 at layer 2", keys: map[string]any{"subnet6": "fd5e::/64", "ipam": raw(`{"type":"none"}`)}, code: 2, want: []string{"subnet6", "without ipam"}},
	{name: "subnet without IPv4", keys: map[string]any{"subnet": "10.0.0.0/24", "ipv4": "none"}, code: 7, want: []string{`subnet "10.0.0.0/24"`, "ipv4"}},
	{name: "ipv4", keys: map[string]any{"ipv4": "dhcp"}, code: 7, want: []string{`ipv4 "dhcp"`, "managed or none"}},
	{name: "ipv6", keys: map[string]any{"ipv6": "dhcp"}, code: 7, want: []string{`ipv6 "dhcp"`, "managed, slaac or none"}},
	{name: "no IP", keys: map[string]any{"ipv4": "none", "ipv6": "none"}, code: 7, want: []string{"ipv6", "ipam.type none"}},
	{name: "uplink without bridged", keys: map[string]any{"uplink": "en0"}, code: 7, want: []string{`uplink "en0"`, "bridged"}},
	{name: "bridged without uplink", keys: map[string]any{"mode": "bridged"}, code: 7, want: []string{`uplink ""`, "bridged"}},
	{name: "bridged with subnet", keys: map[string]any{"mode": "bridged", "uplink": "en0", "subnet": "10.0.0.0/24"}, code: 7, want: []string{"subnet", "bridged"}},
	{name: "bridged to a path", keys: map[string]any{"mode": "bridged", "uplink": "a/b"}, code: 7, want: []string{`uplink "a/b"`}},
	{name: "mtu a string", keys: map[string]any{"mtu": "x"}, code: 7, want: []string{`mtu "x"`, "number"}},
	{name: "mtu too small", keys: map[string]any{"mtu": 576}, code: 7, want: []string{"mtu 576", "1280 to 65520"}},
	{name: "mtu zero", keys: map[string]any{"mtu": 0}, code: 7, want: []string{"mtu 0"}},
	{name: "mtu with a fraction", keys: map[string]any{"mtu": 1500.5}, code: 7, want: []string{"mtu 1500.5"}},
	{name: "isolated a string", keys: map[string]any{"isolated": "yes"}, code: 7, want: []string{`isolated "yes"`, "true or false"}},
	{name: "frames unknown", keys: map[string]any{"frames": "seqpacket"}, code: 7, want: []string{`frames "seqpacket"`}},
	{name: "frames tap", keys: map[string]any{"frames": "tap"}, code: 7, want: []string{`frames "tap"`, "driver tap"}},
	{name: "guard a number", keys: map[string]any{"guard": raw(`{"mac":1}`)}, code: 7, want: []string{"guard.mac 1", "true or false"}},
	{name: "guard ip without addresses", keys: map[string]any{"guard": raw(`{"ip":true}`), "ipam": raw(`{"type":"none"}`)}, code: 7, want: []string{"guard.ip true", "gives no addresses"}},
	{name: "guard ip, bridged", keys: map[string]any{"guard": raw(`{"ip":true}`), "mode": "bridged", "uplink": "en0"}, code: 7, want: []string{"guard.ip true", "gives no addresses"}},
	{name: "guard deny with host bits", keys: map[string]any{"guard": raw(`{"deny":["10.0.0.1/8"]}`)}, code: 7, want: []string{`guard.deny "10.0.0.1/8"`, "10.0.0.0/8"}},
	{name: "guard deny nothing", keys: map[string]any{"guard": raw(`{"deny":[null]}`)}, code: 7, want: []string{"guard.deny", "a list of subnets"}},
	{name: "guard allow malformed", keys: map[string]any{"guard": raw(`{"allow":["x"]}`)}, code: 7, want: []string{`guard.allow ["x"]`}},
	{name: "guard a boolean", keys: map[string]any{"guard": true}, code: 7, want: []string{"guard true", "an object"}},
	{name: "dns name server", keys: map[string]any{"dns": raw(`{"nameservers":["one.one"]}`)}, code: 7, want: []string{`dns.nameservers "one.one"`}},
	{name: "dns search", keys: map[string]any{"dns": raw(`{"search":["a b"]}`)}, code: 7, want: []string{`dns.search "a b"`}},
	{name: "dns domain", keys: map[string]any{"dns": raw(`{"domain":"-x"}`)}, code: 7, want: []string{`dns.domain "-x"`}},
	{name: "ipam delegated without CNI_PATH", keys: map[string]any{"ipam": raw(`{"type":"host-local","subnet":"10.0.0.0/24"}`)}, code: 4, want: []string{"CNI_PATH is missing", `ipam.type "host-local"`}},
	{name: "ipam not in CNI_PATH", env: map[string]string{"CNI_PATH": "/nonexistent:/proc"}, keys: map[string]any{"ipam": raw(`{"type":"host-local"}`)}, code: 7, want: []string{`ipam.type "host-local"`, "/nonexistent:/proc"}},
	{name: "ipam a directory", env: map[string]string{"CNI_PATH": "/proc"}, keys: map[string]any{"ipam": raw(`{"type":"self"}`)}, code: 7, want: []string{`ipam.type "self"`}},
	{name: "ipam a path", env: map[string]string{"CNI_PATH": "/usr"}, keys: map[string]any{"ipam": raw(`{"type":"bin/true"}`)}, code: 7, want: []string{`ipam.type "bin/true"`, "without a path"}},
	{name: "ipam the parent", env: map[string]string{"CNI_PATH": "/usr"}, keys: map[string]any{"ipam": raw(`{"type":".."}`)}, code: 7, want: []string{`ipam.type ".."`}},
	{name: "ipam type a number", keys: map[string]any{"ipam": raw(`{"type":5}`)}, code: 7, want: []string{"ipam.type 5"}},
	{name: "STATUS with ipam not there", verb: "STATUS", env: map[string]string{"CNI_PATH": "/nonexistent"}, keys: map[string]any{"ipam": raw(`{"type":"host-local"}`)}, code: 50, want: []string{`ipam.type "host-local"`}},
	{name: "GC with ipam not there", verb: "GC", env: map[string]string{"CNI_PATH": "/nonexistent"}, keys: map[string]any{"cni.dev/valid-attachments": raw("[]"), "ipam": raw(`{"type":"host-local"}`)}, code: 7, want: []string{`ipam.type "host-local"`}},
	{name: "ipam none with subnet", keys: map[string]any{"ipam": raw(`{"type":"none"}`), "subnet": "10.0.0.0/24"}, code: 7, want: []string{"subnet", "layer 2"}},
	{name: "ipMasq in host mode", keys: map[string]any{"mode": "host", "ipMasq": true}, code: 7, want: []string{"ipMasq true", "host"}},
	{name: "no ipMasq in shared mode", keys: map[string]any{"ipMasq": false}, code: 7, want: []string{"ipMasq false", "shared"}},
	{name: "capabilities a list", keys: map[string]any{"capabilities": []string{"mac"}}, code: 7, want: []string{`capabilities ["mac"]`}},
	{name: "shim timeout", keys: map[string]any{"shim": raw(`{"timeout":"soon"}`)}, code: 7, want: []string{`shim.timeout "soon"`, "duration"}},
	{name: "shim timeout of zero", keys: map[string]any{"shim": raw(`{"timeout":"0s"}`)}, code: 7, want: []string{`shim.timeout "0s"`}},
	{name: "shim address relative", keys: map[string]any{"shim": raw(`{"address":"x"}`)}, code: 7, want: []string{`shim.address "x"`, "absolute"}},
	{name: "shim address too long", keys: map[string]any{"shim": map[string]any{"address": "/" + strings.Repeat("x", 103)}}, code: 7, want: []string{"shim.address", "103 bytes"}},
	{name: "shim binary relative", keys: map[string]any{"shim": raw(`{"binary":"vmnet-shim"}`)}, code: 7, want: []string{`shim.binary "vmnet-shim"`}},
	{name: "shim spawn a string", keys: map[string]any{"shim": raw(`{"spawn":"no"}`)}, code: 7, want: []string{`shim.spawn "no"`}},
	{name: "log file relative", keys: map[string]any{"logFile": "x.log"}, code: 7, want: []string{`logFile "x.log"`}},
	{name: "log file in no directory", keys: map[string]any{"logFile": "/nonexistent/x.log"}, code: 7, want: []string{`logFile "/nonexistent/x.log"`}},
	{name: "log level", keys: map[string]any{"logLevel": "loud"}, code: 7, want: []string{`logLevel "loud"`, "debug, info"}},
	{name: "DEL with a bad shim", verb: "DEL", keys: map[string]any{"shim": raw(`{"timeout":5}`)}, code: 7, want: []string{"shim.timeout 5"}},
}

// runtimeConfig returns the key with that content.
func runtimeConfig(s string) map[string]any { return map[string]any{"runtimeConfig": raw(s)} }

var badRuntimeConfig = []badCase{
	{name: "mac malformed", keys: runtimeConfig(`{"mac":"02:00"}`), code: 7, want: []string{`runtimeConfig.mac "02:00"`}},
	{name: "mac of a group", keys: runtimeConfig(`{"mac":"01:00:5e:00:00:01"}`), code: 7, want: []string{"runtimeConfig.mac", "single station"}},
	{name: "mac of zeros", keys: runtimeConfig(`{"Mac":"00:00:00:00:00:00"}`), code: 7, want: []string{"runtimeConfig.mac"}},
	{name: "ip malformed", keys: runtimeConfig(`{"ips":["10.0.0"]}`), code: 7, want: []string{`runtimeConfig.ips "10.0.0"`}},
	{name: "ip of IPv6 without IPv6", keys: map[string]any{"ipv6": "none", "runtimeConfig": raw(`{"ips":["fd00::2/64"]}`)}, code: 7, want: []string{`"fd00::2/64"`, "IP version"}},
	{name: "ip of IPv6 outside", keys: map[string]any{"subnet6": "fd5e::/64", "runtimeConfig": raw(`{"ips":["fd00::2/64"]}`)}, code: 7, want: []string{`"fd00::2/64"`, "fd5e::/64"}},
	{name: "ip outside", keys: map[string]any{"subnet": "10.0.0.0/24", "runtimeConfig": raw(`{"ips":["10.0.1.5"]}`)}, code: 7, want: []string{`"10.0.1.5"`, "10.0.0.0/24"}},
	{name: "ip of another length", keys: map[string]any{"subnet": "10.0.0.0/24", "runtimeConfig": raw(`{"ips":["10.0.0.5/16"]}`)}, code: 7, want: []string{`"10.0.0.5/16"`, "prefix length"}},
	{name: "ip at layer 2", keys: map[string]any{"ipam": raw(`{"type":"none"}`), "runtimeConfig": raw(`{"ips":["10.0.0.5"]}`)}, code: 7, want: []string{"runtimeConfig.ips", "ipam.type none"}},
	{name: "ips of args", keys: map[string]any{"args": raw(`{"cni":{"ips":["x"]}}`)}, code: 7, want: []string{`args.cni.ips "x"`}},
	{name: "port mapping of sctp", keys: runtimeConfig(`{"portMappings":[{"hostPort":8080,"containerPort":80,"protocol":"SCTP"}]}`), code: 2, want: []string{`runtimeConfig.portMappings.protocol "SCTP"`, "tcp or udp"}},
	{name: "port mapping of ICMP", keys: runtimeConfig(`{"portMappings":[{"hostPort":8080,"containerPort":80,"protocol":"icmp"}]}`), code: 7, want: []string{`runtimeConfig.portMappings.protocol "icmp"`}},
	{name: "port mapping from a name", keys: runtimeConfig(`{"portMappings":[{"HostPort":8080,"ContainerPort":80,"HostIP":"localhost"}]}`), code: 7, want: []string{`runtimeConfig.portMappings.hostIP "localhost"`, "127.0.0.1"}},
	{name: "port mapping from no port", keys: runtimeConfig(`{"portMappings":[{"containerPort":80,"protocol":"tcp"}]}`), code: 7, want: []string{"runtimeConfig.portMappings.hostPort 0"}},
	{name: "port mapping to no port", keys: runtimeConfig(`{"portMappings":[{"hostPort":80,"protocol":"tcp"}]}`), code: 7, want: []string{"runtimeConfig.portMappings.containerPort 0"}},
	{name: "port mapping out of range", keys: runtimeConfig(`{"portMappings":[{"hostPort":65536,"containerPort":80}]}`), code: 7, want: []string{"runtimeConfig.portMappings.hostPort 65536"}},
	{name: "port mapping with an unknown key", keys: runtimeConfig(`{"portMappings":[{"hostPort":80,"containerPort":80,"range":5}]}`), code: 2, want: []string{"runtimeConfig.portMappings.range 5"}},
	{name: "port mappings an object", keys: runtimeConfig(`{"portMappings":{"hostPort":80}}`), code: 7, want: []string{"runtimeConfig.portMappings", "a list"}},
	{name: "bandwidth below zero", keys: runtimeConfig(`{"bandwidth":{"ingressRate":-1}}`), code: 7, want: []string{"runtimeConfig.bandwidth.ingressRate -1", "bits per second"}},
	{name: "bandwidth unknown key", keys: runtimeConfig(`{"bandwidth":{"IngressLatency":5}}`), code: 2, want: []string{"runtimeConfig.bandwidth.IngressLatency 5"}},
	{name: "ip ranges no list", keys: runtimeConfig(`{"ipRanges":"x"}`), code: 7, want: []string{`runtimeConfig.ipRanges "x"`, "list of lists"}},
	{name: "ip ranges flat", keys: runtimeConfig(`{"ipRanges":[{"subnet":"10.0.0.0/24"}]}`), code: 7, want: []string{"runtimeConfig.ipRanges", "list of lists"}},
	{name: "ip ranges unknown key", keys: runtimeConfig(`{"ipRanges":[[{"subnet":"10.0.0.0/24","start":"x"}]]}`), code: 2, want: []string{`runtimeConfig.ipRanges.start "x"`}},
	{name: "ip ranges bad subnet", keys: runtimeConfig(`{"ipRanges":[[{"subnet":"10.0.0.0"}]]}`), code: 7, want: []string{`runtimeConfig.ipRanges.subnet "10.0.0.0"`}},
	{name: "ip ranges host bits", keys: runtimeConfig(`{"ipRanges":[[{"subnet":"10.0.0.9/24"}]]}`), code: 7, want: []string{"runtimeConfig.ipRanges", "10.0.0.0/24"}},
	{name: "ip ranges bad start", keys: runtimeConfig(`{"ipRanges":[[{"subnet":"10.0.0.0/24","rangeStart":"10.0.0"}]]}`), code: 7, want: []string{`runtimeConfig.ipRanges.rangeStart "10.0.0"`}},
	{name: "ip ranges without subnet", keys: runtimeConfig(`{"ipRanges":[[{"rangeStart":"10.0.0.9"}]]}`), code: 7, want: []string{"runtimeConfig.ipRanges", "names none"}},
	{name: "ip ranges outside", keys: runtimeConfig(`{"ipRanges":[[{"subnet":"10.0.0.0/24","rangeEnd":"10.0.1.9"}]]}`), code: 7, want: []string{"runtimeConfig.ipRanges", "10.0.0.1 to 10.0.0.254"}},
	{name: "ip ranges backwards", keys: runtimeConfig(`{"ipRanges":[[{"subnet":"10.0.0.0/24","rangeStart":"10.0.0.9","rangeEnd":"10.0.0.8"}]]}`), code: 7, want: []string{"the lower one first"}},
	{name: "ip ranges overlap", keys: runtimeConfig(`{"ipRanges":[[{"subnet":"10.0.0.0/24","rangeStart":"10.0.0.9"},{"subnet":"10.0.0.0/24","rangeEnd":"10.0.0.9"}]]}`), code: 7, want: []string{"no overlap with 10.0.0.9-10.0.0.254"}},
	{name: "ip ranges of another subnet", keys: map[string]any{"subnet": "10.1.0.0/24", "runtimeConfig": raw(`{"ipRanges":[[{"subnet":"10.0.0.0/24"}]]}`)}, code: 7, want: []string{"10.1.0.0/24", "a network has one"}},
	{name: "ip ranges of two subnets", keys: runtimeConfig(`{"ipRanges":[[{"subnet":"10.0.0.0/24"},{"subnet":"10.1.0.0/24"}]]}`), code: 7, want: []string{"10.0.0.0/24", "a network has one"}},
	{name: "ip ranges with another gateway", keys: map[string]any{"subnet": "10.0.0.0/24", "gateway": "10.0.0.5", "runtimeConfig": raw(`{"ipRanges":[[{"gateway":"10.0.0.6"}]]}`)}, code: 7, want: []string{"10.0.0.5", "a network has one"}},
	{name: "ip ranges with gateway outside", keys: runtimeConfig(`{"ipRanges":[[{"subnet":"10.0.0.0/24","gateway":"10.0.0.255"}]]}`), code: 7, want: []string{"10.0.0.1 to 10.0.0.254"}},
	{name: "ip ranges of IPv6, another length", keys: runtimeConfig(`{"ipRanges":[[{"subnet":"fd00::/56"}]]}`), code: 7, want: []string{"64 bits"}},
	{name: "ip ranges of both in one list", keys: runtimeConfig(`{"ipRanges":[[{"subnet":"fd5e::/64"},{"subnet":"10.0.0.0/24"}]]}`), code: 7, want: []string{"one IP version in a list"}},
	{name: "ip ranges of IPv6, gateway", keys: runtimeConfig(`{"ipRanges":[[{"subnet":"fd5e::/64","gateway":"fd5e::9"}]]}`), code: 7, want: []string{"first address"}},
	{name: "ip ranges, two sets", keys: runtimeConfig(`{"ipRanges":[[{"subnet":"10.0.0.0/24"}],[{"subnet":"10.0.0.0/24"}]]}`), code: 2, want: []string{"one address"}},
	{name: "ip ranges at layer 2", keys: map[string]any{"ipam": raw(`{"type":"none"}`), "runtimeConfig": raw(`{"ipRanges":[[{"subnet":"10.0.0.0/24"}]]}`)}, code: 7, want: []string{"gives no addresses"}},
	{name: "ip range with a zone", keys: runtimeConfig(`{"ipRanges":[[{"subnet":"fd5e::/64","rangeStart":"fd5e::5%en0"}]]}`), code: 7, want: []string{`runtimeConfig.ipRanges.rangeStart "fd5e::5%en0"`}},
	{name: "ip ranges, bridged", keys: map[string]any{"mode": "bridged", "uplink": "en0", "runtimeConfig": raw(`{"ipRanges":[[{"subnet":"10.0.0.0/24"}]]}`)}, code: 7, want: []string{"uplink's network"}},
	{name: "alias that is no label", keys: runtimeConfig(`{"aliases":["a.b"]}`), code: 7, want: []string{`runtimeConfig.aliases "a.b"`, "DNS labels"}},
	{name: "alias that is no label, by network", keys: runtimeConfig(`{"aliases":{"other":["a.b"],"shared":["-"]}}`), code: 7, want: []string{`runtimeConfig.aliases "-"`}},
	{name: "aliases a string", keys: runtimeConfig(`{"aliases":"a"}`), code: 7, want: []string{`runtimeConfig.aliases "a"`}},
	{name: "unknown capability", keys: runtimeConfig(`{"teleport":true}`), code: 2, want: []string{"runtimeConfig.teleport true"}},
	{name: "dns servers", keys: runtimeConfig(`{"dns":{"Servers":["x"]}}`), code: 7, want: []string{`runtimeConfig.dns.servers "x"`}},
}

var badHandover = []badCase{
	{name: "runtime refuses", answer: `{"error":"machine is off"}` + "\n", code: 103, want: []string{"CNI_NETNS", "machine is off"}},
	{name: "runtime answers garbage", answer: "what?\n", code: 103, want: []string{"CNI_NETNS", `"what?"`}},
	{name: "runtime answers nothing sensible", answer: "{}\n", code: 103, want: []string{"CNI_NETNS", "want ok or error"}},
	{name: "runtime closes", answer: "close", code: 103, want: []string{"CNI_NETNS", "EOF"}},
	{name: "runtime hangs", answer: "hang", short: "2s", code: 11, want: []string{"CNI_NETNS", "no answer in time"}},
	{name: "frames refused", answer: "close", fails: map[string]error{"POST frames": shim.Errorf(shim.CodeUnsupported, "frames: cannot")}, code: 2, want: []string{"frames: cannot"}},
}

var badShim = []badCase{
	{name: "shim says invalid", fails: map[string]error{"PUT": shim.Invalidf("network.subnet", "10.0.0.0/24", "overlaps eth0")}, code: 7, want: []string{"network.subnet", "10.0.0.0/24", "overlaps eth0"}},
	{name: "shim says conflict", fails: map[string]error{"PUT": shim.Errorf(shim.CodeConflict, "address taken by vm2")}, code: 100, want: []string{"taken by vm2"}},
	{name: "shim says exhausted", fails: map[string]error{"PUT": shim.Errorf(shim.CodeExhausted, "no address is free")}, code: 102, want: []string{"no address is free"}},
	{name: "shim says denied", fails: map[string]error{"PUT": shim.Errorf(shim.CodeDenied, "another user's")}, code: 101, want: []string{"another user's"}},
	{name: "shim says unsupported", fails: map[string]error{"PUT": shim.Errorf(shim.CodeUnsupported, `mode "bridged": not by driver netstack`)}, code: 2, want: []string{"bridged"}},
	{name: "shim says unavailable", fails: map[string]error{"PUT": shim.Errorf(shim.CodeUnavailable, "shutting down")}, code: 11, want: []string{"shutting down"}},
	{name: "shim says internal", fails: map[string]error{"PUT": shim.Errorf(shim.CodeInternal, "disk full")}, code: 999, want: []string{"disk full"}},
	{name: "shim hangs", fails: map[string]error{"PUT": errHang, "GET": errHang}, short: "100ms", code: 11, want: []string{"no answer in time"}},
	{name: "nobody listens", keys: map[string]any{"shim": raw(`{"address":"/nonexistent/shim.sock","spawn":false}`)}, code: 11, want: []string{"/nonexistent/shim.sock", "nobody listens"}},
	{name: "STATUS, shim hangs", verb: "STATUS", fails: map[string]error{"GET network": errHang}, short: "100ms", code: 51, want: []string{"no answer in time"}},
	{name: "STATUS, nobody listens", verb: "STATUS", keys: map[string]any{"shim": raw(`{"address":"/nonexistent/shim.sock","spawn":false}`)}, code: 51, want: []string{"nobody listens"}},
	{name: "STATUS, no program", verb: "STATUS", keys: map[string]any{"shim": raw(`{"address":"/nonexistent/shim.sock","binary":"/nonexistent/vmnet-shim"}`)}, code: 50, want: []string{"shim.binary"}},
	{name: "GC fails", verb: "GC", keys: map[string]any{"cni.dev/valid-attachments": raw("[]")}, fails: map[string]error{"POST gc": shim.Errorf(shim.CodeInternal, "one is stuck")}, code: 999, want: []string{"one is stuck"}},
	{name: "DEL fails", verb: "DEL", fails: map[string]error{"DELETE": shim.Errorf(shim.CodeInternal, "store is locked")}, code: 999, want: []string{"store is locked"}},
	{name: "CHECK of none", verb: "CHECK", keys: map[string]any{"prevResult": raw(goodPrev)}, code: 3, want: []string{"no such attachment"}},
	{name: "CHECK, nobody listens", verb: "CHECK", keys: map[string]any{"prevResult": raw(goodPrev), "shim": raw(`{"address":"/nonexistent/shim.sock"}`)}, code: 11, want: []string{"/nonexistent/shim.sock"}},
}

// goodPrev is the result of an ADD at the fake shim.
const goodPrev = `{"cniVersion":"1.1.0",
	"interfaces":[{"name":"eth0","mac":"02:00:00:00:00:01","mtu":1500,"sandbox":"vm://vm1"}],
	"ips":[{"interface":0,"address":"192.168.127.2/24","gateway":"192.168.127.1"}]}`

// Stdin that cannot be read is code 5, whatever the verb.
func TestUnreadableStdin(t *testing.T) {
	f, err := os.Open(t.TempDir()) // reading a directory fails
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got := runVerb(t, "ADD", nil, f)
	var e cniError
	oneDocument(t, got.stdout, &e)
	if e.Code != codeIO || got.code == 0 {
		t.Errorf("exit %d, %s: want code 5", got.code, got.stdout)
	}
}

// A FIFO as CNI_NETNS is opaque: it is never opened.
func TestFIFO(t *testing.T) {
	emptyDirs(t)
	fake := newFakeShim(t)
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"ADD", "DEL"} {
		if got := runVerb(t, verb, map[string]string{"CNI_NETNS": fifo}, strings.NewReader(conf(t, fake.path, nil))); got.code != 0 {
			t.Errorf("%s: %s", verb, got.stdout)
		}
	}
}

// What a verb made is taken back when its result cannot be printed.
func TestUnwritableStdout(t *testing.T) {
	emptyDirs(t)
	fake := newFakeShim(t)
	environ := []string{"CNI_COMMAND=ADD", "CNI_CONTAINERID=vm1", "CNI_IFNAME=eth0", "CNI_NETNS=vm1"}
	code := runIn(t.Context(), environ, strings.NewReader(conf(t, fake.path, nil)), brokenPipe{}, io.Discard)
	if code == 0 || fake.count() != 0 {
		t.Errorf("exit code %d, %d attachments: want an error and none", code, fake.count())
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

// A panic is an error with code 999, and nothing else goes to stdout.
func TestPanic(t *testing.T) {
	got := runVerb(t, "ADD", nil, panickingReader{})
	var e cniError
	oneDocument(t, got.stdout, &e)
	if e.Code != codeInternal || !strings.Contains(e.Msg, "out of luck") || got.code == 0 {
		t.Errorf("exit %d, %s", got.code, got.stdout)
	}
}

type panickingReader struct{}

func (panickingReader) Read([]byte) (int, error) { panic("out of luck") }

// Every code is in the table of docs/errors.md.
func TestCodesAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/errors.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, code := range []int{codeVersion, codeUnsupported, codeUnknown, codeEnv, codeIO, codeDecode, codeConfig, codeTryAgain, codeNotReady,
		codeNotReadyLosing, codeConflict, codeDenied, codeExhausted, codeHandover, codeDrift, codeInternal} {
		if !strings.Contains(string(page), fmt.Sprintf("\n| %d | ", code)) {
			t.Errorf("docs/errors.md does not have code %d", code)
		}
	}
	for _, code := range shimCodes {
		if !strings.Contains(string(page), fmt.Sprintf(" %d", code)) {
			t.Errorf("docs/errors.md does not say what becomes %d", code)
		}
	}
}
