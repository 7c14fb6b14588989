package main

import (
	"context"
	"encoding/json"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/vmnet-cni/vmnet/pkg/handover"
	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// succeeds runs a verb that must succeed and returns what it printed.
func succeeds(t testing.TB, verb string, env map[string]string, stdin string) string {
	t.Helper()
	got := runVerb(t, verb, env, strings.NewReader(stdin))
	if got.code != 0 {
		t.Fatalf("%s: exit code %d: %s", verb, got.code, got.stdout)
	}
	if got.stderr != "" {
		t.Errorf("%s: stderr %q: want nothing on success", verb, got.stderr)
	}
	if verb != "ADD" && verb != "VERSION" && got.stdout != "" {
		t.Errorf("%s: stdout %q: want nothing", verb, got.stdout)
	}
	return got.stdout
}

func TestVersion(t *testing.T) {
	for _, tt := range []struct{ stdin, want string }{
		{`{"cniVersion":"0.4.0"}`, "0.4.0"},
		{`{"cniVersion":"9.9.9"}`, "9.9.9"}, // what was asked with, known or not
		{`{"cniVersion":"1.1.0","name":"x","foo":1}`, "1.1.0"},
		{``, "1.1.0"}, {`garbage`, "1.1.0"}, {`{"cniVersion":5}`, "1.1.0"}, {`{}`, "1.1.0"},
	} {
		var v struct {
			CNIVersion        string
			SupportedVersions []string
		}
		oneDocument(t, succeeds(t, "VERSION", map[string]string{"CNI_NETNS": "dummy"}, tt.stdin), &v)
		if v.CNIVersion != tt.want || len(v.SupportedVersions) != 5 {
			t.Errorf("VERSION with %q: %+v", tt.stdin, v)
		}
	}
}

func TestAbout(t *testing.T) {
	got := runVerb(t, "-", nil, strings.NewReader(""))
	if got.code != 0 || got.stdout != "" || !strings.Contains(got.stderr, "CNI plugin") {
		t.Errorf("without CNI_COMMAND: %+v", got)
	}
}

// The result at every version: the shape of that version, and nothing lost that
// it has room for.
func TestAddResult(t *testing.T) {
	emptyDirs(t)
	for _, v := range supported {
		t.Run(v, func(t *testing.T) {
			fake := newFakeShim(t)
			out := succeeds(t, "ADD", nil, conf(t, fake.path, map[string]any{"cniVersion": v, "dns": raw(`{"search":["vm.internal"]}`)}))
			var r struct {
				CNIVersion string
				Interfaces []map[string]any
				IPs        []map[string]any
				Routes     []map[string]any
				DNS        map[string]any
			}
			oneDocument(t, out, &r)
			if r.CNIVersion != v || len(r.Interfaces) != 1 || len(r.IPs) != 1 || len(r.Routes) != 1 {
				t.Fatalf("result = %s", out)
			}
			i, ip := r.Interfaces[0], r.IPs[0]
			if i["name"] != "eth0" || i["mac"] != "02:00:00:00:00:01" || i["sandbox"] != "vm://vm1" {
				t.Errorf("interface = %v", i)
			}
			if has := i["mtu"] == 1500.0 && i["socketPath"] == fake.path; has != (v >= "1.0.0") {
				t.Errorf("interface at %s = %v", v, i)
			}
			if ip["address"] != "192.168.127.2/24" || ip["gateway"] != "192.168.127.1" || ip["interface"] != 0.0 {
				t.Errorf("ip = %v", ip)
			}
			if (ip["version"] == "4") != (v < "1.0.0") {
				t.Errorf("ip version at %s: %v", v, ip["version"])
			}
			if s, _ := json.Marshal(r.DNS); string(s) != `{"nameservers":["192.168.127.1"],"search":["vm.internal"]}` {
				t.Errorf("dns = %s", s)
			}
		})
	}
}

// In a chain the earlier result stays, and indices stay true.
func TestAddExtendsPrevResult(t *testing.T) {
	emptyDirs(t)
	fake := newFakeShim(t)
	prev := `{"cniVersion":"1.1.0","interfaces":[{"name":"br0"},{"name":"eth1","sandbox":"vm://vm1"}],
		"ips":[{"interface":1,"address":"10.0.0.2/24"}],"routes":[{"dst":"10.9.0.0/16"}],"dns":{"nameservers":["10.0.0.1"],"domain":"old"}}`
	out := succeeds(t, "ADD", nil, conf(t, fake.path, map[string]any{"prevResult": raw(prev)}))
	var r types100.Result
	oneDocument(t, out, &r)
	if len(r.Interfaces) != 3 || r.Interfaces[2].Name != "eth0" || len(r.IPs) != 2 || len(r.Routes) != 2 {
		t.Fatalf("result = %s", out)
	}
	if *r.IPs[0].Interface != 1 || *r.IPs[1].Interface != 2 {
		t.Errorf("indices %d, %d: want 1, 2", *r.IPs[0].Interface, *r.IPs[1].Interface)
	}
	if got := strings.Join(r.DNS.Nameservers, ","); got != "192.168.127.1,10.0.0.1" || r.DNS.Domain != "old" {
		t.Errorf("dns = %+v", r.DNS)
	}
}

// Where several sources ask for an address, the one of highest rank decides
// (K03); pairs of CNI_ARGS come in any order.
func TestPrecedence(t *testing.T) {
	emptyDirs(t)
	args := map[string]string{"CNI_ARGS": "K8S_POD_UID=u;MAC=02:00:00:00:00:0A;FOO=x;K8S_POD_NAME=pod1;IP=192.168.127.30;IgnoreUnknown=1"}
	viaArgs := raw(`{"labels":[{"key":"a"}],"cni":{"labels":[],"mac":"02-00-00-00-00-0b","ips":["192.168.127.31/24"]}}`)
	viaRuntime := raw(`{"Mac":"02:00:00:00:00:0C","ips":["192.168.127.32"],"bandwidth":{"IngressRate":0,"IngressBurst":4294967295},
		"portMappings":[],"cgroupPath":"/x","io.kubernetes.cri.pod-annotations":{"a":"b"},"dns":{"Servers":["9.9.9.9"],"Searches":null,"Options":null}}`)
	for _, tt := range []struct {
		name, mac, ip string
		keys          map[string]any
		env           map[string]string
	}{
		{"CNI_ARGS", "02:00:00:00:00:0a", "192.168.127.30", nil, args},
		{"args", "02:00:00:00:00:0b", "192.168.127.31/24", map[string]any{"args": viaArgs}, args},
		{"runtimeConfig", "02:00:00:00:00:0c", "192.168.127.32", map[string]any{"args": viaArgs, "runtimeConfig": viaRuntime}, args},
		{"nothing", "", "", nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fake := newFakeShim(t)
			out := succeeds(t, "ADD", tt.env, conf(t, fake.path, tt.keys))
			req := fake.reqs["shared/vm1/eth0"]
			if req.MAC != tt.mac || strings.Join(req.IPs, ",") != tt.ip {
				t.Errorf("request: mac %q, ips %q; want %q, %q", req.MAC, req.IPs, tt.mac, tt.ip)
			}
			if tt.env != nil && req.Hostname != "pod1" {
				t.Errorf("hostname %q: want the pod's name", req.Hostname)
			}
			if fromRuntime := tt.name == "runtimeConfig"; strings.Contains(out, "9.9.9.9") != fromRuntime || len(req.DNS.Nameservers) > 0 != fromRuntime {
				t.Errorf("runtimeConfig.dns: %s", out)
			}
			if req.RequestID == "" || req.Sandbox != "vm://vm1" {
				t.Errorf("request = %+v", req)
			}
		})
	}
}

// Every key reaches the shim, with the meaning it has in the configuration.
func TestConfigReachesShim(t *testing.T) {
	emptyDirs(t)
	fake := newFakeShim(t)
	succeeds(t, "ADD", nil, conf(t, fake.path, map[string]any{
		"mode": "host", "driver": "netstack", "subnet": "10.1.2.0/24", "gateway": "10.1.2.9", "mtu": 9000,
		"isolated": true, "offload": true, "vnetHeader": true, "hostLoopback": true, "frames": "stream", "ipMasq": false,
		"guard": raw(`{"mac":false,"allow":["0.0.0.0/0"],"deny":["169.254.0.0/16"]}`), "ipam": raw(`{}`), "uplink": "",
		"dns":                       raw(`{"nameservers":["1.1.1.1"],"domain":"d","search":["s.d"],"options":["ndots:2"]}`),
		"cni.dev/valid-attachments": raw("[]"), "cni.dev/anything": 5, "logLevel": "debug", "logFile": filepath.Join(t.TempDir(), "log"),
	}))
	want := shim.NetworkSpec{
		Name: "shared", Mode: 1, Driver: "netstack", Subnet: netip.MustParsePrefix("10.1.2.0/24"), Gateway: netip.MustParseAddr("10.1.2.9"),
		MTU: 9000, Isolated: true, Offload: true, HostLoopback: true,
		DNS: shim.DNS{Nameservers: []string{"1.1.1.1"}, Domain: "d", Search: []string{"s.d"}, Options: []string{"ndots:2"}},
	}
	req := fake.reqs["shared/vm1/eth0"]
	g, _ := json.Marshal(req.Network)
	w, _ := json.Marshal(want)
	if string(g) != string(w) || req.Frames != "stream" || !req.VnetHeader {
		t.Errorf("frames %q, vnetHeader %t, network\n%s\nwant\n%s", req.Frames, req.VnetHeader, g, w)
	}
}

func TestAddTwice(t *testing.T) {
	emptyDirs(t)
	fake := newFakeShim(t)
	c := conf(t, fake.path, nil)
	succeeds(t, "ADD", nil, c)
	if got := runVerb(t, "ADD", nil, strings.NewReader(c)); got.code == 0 || !strings.Contains(got.stdout, `"code":100`) {
		t.Errorf("second ADD: %s", got.stdout)
	}
	if fake.count() != 1 {
		t.Error("the second ADD touched the first attachment")
	}
}

func TestAddPushes(t *testing.T) {
	emptyDirs(t)
	before := openFDs(t)
	fake := newFakeShim(t)
	l, err := handover.Listen(filepath.Join(filepath.Dir(fake.path), "vm.sock"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	taken := make(chan handover.Message, 1)
	go func() {
		o, err := l.Accept(ctx)
		if err != nil {
			return
		}
		_ = o.Accept()
		o.File.Close()
		taken <- o.Message
	}()
	log := filepath.Join(t.TempDir(), "log")
	out := succeeds(t, "ADD", map[string]string{"CNI_NETNS": l.Path()}, conf(t, fake.path, map[string]any{"logFile": log}))
	m := <-taken
	if m.Network != "shared" || m.ContainerID != "vm1" || m.IfName != "eth0" || m.Kind != "dgram" || m.MaxFrameSize != 1514 {
		t.Errorf("message = %+v", m)
	}
	if !strings.Contains(out, l.Path()) {
		t.Errorf("result %s: want the sandbox %s", out, l.Path())
	}
	// One line in the log for the verb.
	if data, err := os.ReadFile(log); err != nil || strings.Count(string(data), "\n") != 1 || !strings.Contains(string(data), "msg=ADD") {
		t.Errorf("log = %q, %v", data, err)
	}
	l.Close()
	waitFor(t, "closed descriptors", func() bool { return openFDs(t) <= before+3 }) // the fake's listener and epoll
}

// A socket on which nobody listens, and one for datagrams, are only names.
func TestAddOpaqueSockets(t *testing.T) {
	emptyDirs(t)
	dir := filepath.Dir(newFakeShim(t).path)
	dead := filepath.Join(dir, "dead")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	dgram := filepath.Join(dir, "dgram")
	d, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: dgram, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for _, netns := range []string{dead, dgram, dir, "/dev/null", "vm://x", "/no/such/path", strings.Repeat("x", 4000)} {
		fake := newFakeShim(t)
		succeeds(t, "ADD", map[string]string{"CNI_NETNS": netns}, conf(t, fake.path, nil))
	}
}

// DEL needs three words and a shim, and forgives everything else.
func TestDelForgives(t *testing.T) {
	emptyDirs(t)
	fake := newFakeShim(t)
	for name, keys := range map[string]map[string]any{
		"plain":              nil,
		"bad prevResult":     {"prevResult": raw(`"x"`)},
		"empty prevResult":   {"prevResult": raw(`{}`)},
		"null prevResult":    {"prevResult": nil},
		"foreign prevResult": {"prevResult": raw(`{"cniVersion":"0.1.0","ip4":{}}`)},
		"unknown key":        {"foo": 1},
		"bad mode":           {"mode": 7},
		"bad log":            {"logFile": "/nonexistent/x", "logLevel": "loud"},
		"unbuilt capability": {"runtimeConfig": raw(`{"portMappings":[{"hostPort":1}]}`)},
		"bad list of GC":     {"cni.dev/valid-attachments": 7},
		"bad ipam":           {"ipam": raw(`{"type":"a/b"}`)}, // nothing was ever delegated to that
	} {
		for _, netns := range []string{"vm://vm1", "-", "", "/dev/null", "/proc/self/ns/net"} {
			succeeds(t, "ADD", nil, conf(t, fake.path, nil))
			if got := runVerb(t, "DEL", map[string]string{"CNI_NETNS": netns, "CNI_ARGS": "junk"}, strings.NewReader(conf(t, fake.path, keys))); got.code != 0 || got.stdout != "" {
				t.Errorf("%s, netns %q: %s", name, netns, got.stdout)
			}
			if fake.count() != 0 {
				t.Fatalf("%s, netns %q: the attachment is still there", name, netns)
			}
		}
	}
	succeeds(t, "DEL", nil, conf(t, fake.path, nil)) // again
}

// Without a shim DEL does nothing when nothing is recorded, and asks to be tried
// again when something is and the shim may not be started.
func TestDelWithoutShim(t *testing.T) {
	runtime, state := emptyDirs(t)
	c := conf(t, "", map[string]any{"shim": raw(`{"spawn":false}`)})
	succeeds(t, "DEL", nil, c)
	succeeds(t, "GC", nil, conf(t, "", map[string]any{"shim": raw(`{"spawn":false}`), "cni.dev/valid-attachments": raw("[]")}))
	file := shim.Dirs{Runtime: runtime, State: state}.AttachmentFile("shared", "vm1", "eth0")
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := runVerb(t, "DEL", nil, strings.NewReader(c)); got.code == 0 || !strings.Contains(got.stdout, `"code":11`) {
		t.Errorf("DEL of a recorded attachment: %s", got.stdout)
	}
	succeeds(t, "DEL", map[string]string{"CNI_IFNAME": "eth1"}, c)
}

func TestStatus(t *testing.T) {
	runtime, state := emptyDirs(t)
	fake := newFakeShim(t)
	bare := map[string]string{"CNI_CONTAINERID": "-", "CNI_IFNAME": "-", "CNI_NETNS": "-"}
	succeeds(t, "STATUS", bare, conf(t, fake.path, nil))
	fake.free = 0
	if got := runVerb(t, "STATUS", bare, strings.NewReader(conf(t, fake.path, nil))); !strings.Contains(got.stdout, `"code":50`) {
		t.Errorf("STATUS without a free address: %s", got.stdout)
	}
	// A shim that could be started is as good as one that runs; none is started.
	succeeds(t, "STATUS", bare, conf(t, "", map[string]any{"shim": raw(`{"binary":"/bin/sh"}`)}))
	if left := append(files(t, runtime), files(t, state)...); len(left) > 0 {
		t.Errorf("STATUS left %v", left)
	}
}

func TestGC(t *testing.T) {
	emptyDirs(t)
	fake := newFakeShim(t)
	for _, list := range []string{`[]`, `null`, `[{"containerID":"keep","ifname":"eth0"}]`} {
		for _, id := range []string{"keep", "drop"} {
			succeeds(t, "ADD", map[string]string{"CNI_CONTAINERID": id}, conf(t, fake.path, nil))
		}
		succeeds(t, "ADD", nil, conf(t, fake.path, map[string]any{"name": "other"}))
		for _, key := range []string{"cni.dev/valid-attachments", "cni.dev/attachments"} {
			succeeds(t, "GC", map[string]string{"CNI_CONTAINERID": "-"}, conf(t, fake.path, map[string]any{key: raw(list)}))
		}
		want := 1
		if strings.Contains(list, "keep") {
			want = 2
		}
		if got := fake.count(); got != want {
			t.Errorf("GC with %s: %d attachments: want %d", list, got, want)
		}
		fake.atts = map[string]shim.Attachment{}
	}
}

// The examples are valid, and say so to the parser that ADD uses.
func TestExamples(t *testing.T) {
	lists, err := filepath.Glob("../../examples/net.d/*.conflist")
	if err != nil || len(lists) < 2 {
		t.Fatalf("examples: %v, %v", lists, err)
	}
	for _, path := range lists {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var list struct {
			CNIVersion, Name string
			Plugins          []map[string]json.RawMessage
		}
		if err := json.Unmarshal(data, &list); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		for _, p := range list.Plugins {
			p["name"], _ = json.Marshal(list.Name)
			if _, err := parseConfig(p, list.CNIVersion, true); err != nil {
				t.Errorf("%s: %v", path, err)
			}
		}
	}
}
