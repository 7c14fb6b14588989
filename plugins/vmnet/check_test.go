package main

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// CHECK finds that a port mapping or a limit is gone, which no result tells of,
// where the runtime says again what it asked for.
func TestCheckWanted(t *testing.T) {
	emptyDirs(t)
	fake := newFakeShim(t)
	keys := map[string]any{
		"capabilities": map[string]any{"portMappings": true, "bandwidth": true},
		"runtimeConfig": map[string]any{
			"portMappings": []any{map[string]any{"HostPort": 8080, "ContainerPort": 80, "Protocol": "TCP"}},
			"bandwidth":    map[string]any{"ingressRate": 1000000, "ingressBurst": 1},
		},
	}
	out := succeeds(t, "ADD", nil, conf(t, fake.path, keys))
	keys["prevResult"] = raw(out)
	c := conf(t, fake.path, keys)
	whole := func(a *shim.Attachment) {
		a.Forwards = []shim.Forward{{Protocol: "tcp", HostPort: 8080, ContainerPort: 80}}
		a.Bandwidth = shim.Bandwidth{IngressRate: 1000000}
	}
	fake.edit = whole
	succeeds(t, "CHECK", nil, c)
	for what, edit := range map[string]func(*shim.Attachment){
		"portMappings: tcp *:8080": func(a *shim.Attachment) { a.Forwards = nil },
		"port 80 of the guest":     func(a *shim.Attachment) { a.Forwards[0].ContainerPort = 81 },
		"bandwidth: want 1000000":  func(a *shim.Attachment) { a.Bandwidth = shim.Bandwidth{} },
	} {
		fake.edit = func(a *shim.Attachment) { whole(a); edit(a) }
		if got := runVerb(t, "CHECK", nil, strings.NewReader(c)); got.code == 0 || !strings.Contains(got.stdout, what) {
			t.Errorf("CHECK that must say %q: %+v", what, got)
		}
	}
	fake.edit = func(a *shim.Attachment) { a.Forwards, a.Bandwidth = nil, shim.Bandwidth{} }
	delete(keys, "runtimeConfig")
	succeeds(t, "CHECK", nil, conf(t, fake.path, keys))
}

// CHECK passes right after ADD, at every version that has it, and names what
// drifted after that.
func TestCheck(t *testing.T) {
	emptyDirs(t)
	for _, v := range []string{"0.4.0", "1.0.0", "1.1.0"} {
		fake := newFakeShim(t)
		out := succeeds(t, "ADD", nil, conf(t, fake.path, map[string]any{"cniVersion": v}))
		c := conf(t, fake.path, map[string]any{"cniVersion": v, "prevResult": raw(out)})
		succeeds(t, "CHECK", nil, c)
		for what, edit := range map[string]func(*shim.Attachment){
			"mac":               func(a *shim.Attachment) { a.MAC = "02:00:00:00:00:99" },
			"mtu":               func(a *shim.Attachment) { a.MTU = 9000 },
			"ips":               func(a *shim.Attachment) { a.IPs = nil },
			"192.168.127.9":     func(a *shim.Attachment) { a.IPs[0].Address = netip.MustParsePrefix("192.168.127.9/24") },
			"192.168.127.7":     func(a *shim.Attachment) { a.IPs[0].Gateway = netip.MustParseAddr("192.168.127.7") },
			"routes":            func(a *shim.Attachment) { a.Routes[0].Dst = netip.MustParsePrefix("10.0.0.0/8") },
			"socketPath":        func(a *shim.Attachment) { a.SocketPath = "/x" },
			"/gone":             func(a *shim.Attachment) { a.StreamSocketPath = "/gone" },
			"is not a socket":   func(a *shim.Attachment) { a.StreamSocketPath = "/dev/null" },
			"cannot be brought": func(a *shim.Attachment) { a.Problem = "cannot be brought back" },
		} {
			fake.edit = edit
			got := runVerb(t, "CHECK", nil, strings.NewReader(c))
			if v < "1.0.0" && (what == "mtu" || what == "socketPath") {
				continue // not in a result of that version
			}
			if got.code == 0 || !strings.Contains(got.stdout, what) || !strings.Contains(got.stdout, `"code":104`) {
				t.Errorf("%s: CHECK after %s drifted: %s", v, what, got.stdout)
			}
		}
		fake.edit = nil
		// The same when it is the result that is wrong.
		for _, edit := range [][2]string{
			{"02:00:00:00:00:01", "02:00:00:00:00:09"}, {"192.168.127.2/24", "192.168.127.3/24"}, {"192.168.127.2/24", "192.168.127.2/25"},
			{`"gateway": "192.168.127.1"`, `"gateway": "192.168.127.8"`}, {`"dst": "0.0.0.0/0"`, `"dst": "128.0.0.0/1"`}, {`"gw": "192.168.127.1"`, `"gw": "192.168.127.3"`},
			{`"mtu": 1500`, `"mtu": 1400`}, {`"socketPath": "`, `"socketPath": "/x`}, {`"interface": 0`, `"interface": 7`},
		} {
			wrong := strings.Replace(out, edit[0], edit[1], 1)
			got := runVerb(t, "CHECK", nil, strings.NewReader(conf(t, fake.path, map[string]any{"cniVersion": v, "prevResult": raw(wrong)})))
			if wrong != out && (got.code == 0 || !strings.Contains(got.stdout, `"code":104`)) {
				t.Errorf("%s: CHECK with %s in the result: %+v", v, edit[1], got)
			}
		}
		// What later plugins add or take is their business.
		later := strings.Replace(out, `"ips": [`, `"ips": [{"version":"4","address":"10.99.0.2/24","interface":0},{"version":"6","address":"fd00::2/64","interface":0},`, 1)
		later = strings.Replace(later, `"routes": [`, `"routes": [{"dst":"10.98.0.0/16","gw":"10.99.0.1"},`, 1)
		later = strings.Replace(later, `"nameservers"`, `"options":["x"],"nameservers"`, 1)
		succeeds(t, "CHECK", nil, conf(t, fake.path, map[string]any{"cniVersion": v, "prevResult": raw(later)}))
		foreign := strings.Replace(out, `"interfaces": [`, `"interfaces": [{"name":"later0"},`, 1)
		foreign = strings.Replace(foreign, `"interface": 0`, `"interface": 1`, 1)
		succeeds(t, "CHECK", nil, conf(t, fake.path, map[string]any{"cniVersion": v, "prevResult": raw(foreign)}))
		if fake.count() != 1 {
			t.Error("CHECK changed something")
		}
	}
}

// A machine that has the tap itself has no socket, and CHECK passes; a container,
// whose result leaves the socket out, must have its namespace.
func TestCheckWithoutSocket(t *testing.T) {
	emptyDirs(t)
	fake := newFakeShim(t)
	tap := map[string]any{"driver": "tap", "frames": "tap"}
	out := succeeds(t, "ADD", nil, conf(t, fake.path, tap))
	tap["prevResult"] = raw(out)
	succeeds(t, "CHECK", nil, conf(t, fake.path, tap))
	box := map[string]string{"CNI_CONTAINERID": "box"}
	out = succeeds(t, "ADD", box, conf(t, fake.path, nil))
	out = strings.Replace(out, fmt.Sprintf(`"socketPath": %q`, fake.path), `"pciID": ""`, 1)
	got := runVerb(t, "CHECK", box, strings.NewReader(conf(t, fake.path, map[string]any{"prevResult": raw(out)})))
	if got.code == 0 || !strings.Contains(got.stdout, `"code":104`) || !strings.Contains(got.stdout, "is no network namespace any more") {
		t.Errorf("CHECK of a container without its namespace: %+v", got)
	}
}
