package main

import (
	"strings"
	"testing"

	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// TestStickyKey: which of the names that a container has its address is kept
// under.
func TestStickyKey(t *testing.T) {
	const labels = `{"cni": {"labels": [{"key": "app", "value": "x"}, {"key": "io.kubernetes.pod.namespace", "value": "ns"}, {"key": "io.kubernetes.pod.name", "value": "pod"}]}}`
	const own = `{"cni": {"labels": [{"key": "io.kubernetes.pod.name", "value": "pod"}, {"key": "vmnet.sticky-key", "value": "mine"}]}}`
	const pod = "K8S_POD_NAME=web-0;IgnoreUnknown=1;K8S_POD_NAMESPACE=prod"
	for _, tt := range []struct {
		name string
		keys map[string]any
		args string
		want shim.LeasePolicy
	}{
		{name: "nothing"},
		{name: "configuration", keys: map[string]any{"ipam": raw(`{"stickyKey": "web"}`), "args": raw(labels)}, args: pod, want: shim.LeasePolicy{StickyKey: "web/eth0"}},
		{name: "own label", keys: map[string]any{"args": raw(own)}, args: pod, want: shim.LeasePolicy{StickyKey: "mine/eth0"}},
		{name: "labels", keys: map[string]any{"args": raw(labels)}, args: pod, want: shim.LeasePolicy{StickyKey: "ns/pod/eth0"}},
		{name: "args", keys: map[string]any{"args": raw(`{"cni": {"K8S_POD_NAMESPACE": "ns", "K8S_POD_NAME": "pod"}}`)}, args: pod, want: shim.LeasePolicy{StickyKey: "ns/pod/eth0"}},
		{name: "CNI_ARGS", args: pod, want: shim.LeasePolicy{StickyKey: "prod/web-0/eth0"}},
		{name: "podman", args: "IgnoreUnknown=1;K8S_POD_NAME=web", want: shim.LeasePolicy{StickyKey: "web/eth0"}},
		{name: "no pod", args: "K8S_POD_NAMESPACE=prod"},
		{name: "labels of another form", keys: map[string]any{"args": raw(`{"cni": {"labels": {"a": "b"}}}`)}},
		{name: "labels that cannot be", keys: map[string]any{"args": raw(`{"cni": {"labels": [{"key": "vmnet.sticky-key", "value": "a\u0000b"}, {"key": 5}]}}`)}},
		{name: "bridged", keys: map[string]any{"mode": "bridged", "uplink": "en0"}, args: pod},
		{name: "layer 2", keys: map[string]any{"ipam": raw(`{"type": "none"}`)}, args: pod},
		{name: "policy", keys: map[string]any{"ipam": raw(`{"quarantine": "10m", "whenFull": "refuse"}`)}, want: shim.LeasePolicy{Quarantine: "10m", WhenFull: "refuse"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFakeShim(t)
			env := map[string]string{}
			if tt.args != "" {
				env["CNI_ARGS"] = tt.args
			}
			succeeds(t, "ADD", env, conf(t, f.path, tt.keys))
			if got := f.reqs["shared/vm1/eth0"].Lease; got != tt.want {
				t.Errorf("lease %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestStickyKeyWrong(t *testing.T) {
	for text, ipam := range map[string]string{
		`ipam.stickyKey "a\u0000": want printable text of at most 496 bytes`: `{"stickyKey": "a\u0000"}`,
		`ipam.stickyKey 5: want a name`:                                      `{"stickyKey": 5}`,
		`ipam.quarantine "soon": want a duration of at most 720h0m0s`:        `{"quarantine": "soon"}`,
		`ipam.quarantine "721h": want a duration`:                            `{"quarantine": "721h"}`,
		`ipam.whenFull "wait": want reuse or refuse`:                         `{"whenFull": "wait"}`,
		`unknown key ipam.quarantine "1m"`:                                   `{"type": "none", "quarantine": "1m"}`,
	} {
		got := runVerb(t, "ADD", nil, strings.NewReader(conf(t, "/nowhere", map[string]any{"ipam": raw(ipam)})))
		var e struct{ Msg string }
		if oneDocument(t, got.stdout, &e); got.code == 0 || !strings.HasPrefix(e.Msg, text) {
			t.Errorf("ipam %s: %q, want %q", ipam, e.Msg, text)
		}
	}
	succeeds(t, "DEL", map[string]string{"CNI_ARGS": "x"}, conf(t, newFakeShim(t).path, map[string]any{"ipam": raw(`{"whenFull": "wait"}`)}))
}

// TestE2ESticky: a pod that is made again gets its address back after others came
// and went through the whole subnet, and the listing shows its name.
func TestE2ESticky(t *testing.T) {
	h := newHost(t)
	c := conf(t, "", map[string]any{"shim": nil, "subnet": "192.168.99.0/29", "ipv6": "none"})
	add := func(id, pod string) string {
		env := map[string]string{}
		if pod != "" {
			env["CNI_ARGS"] = "IgnoreUnknown=1;K8S_POD_NAMESPACE=prod;K8S_POD_NAME=" + pod
		}
		return result(t, h.must("ADD", id, env, c)).IPs[0].Address.String()
	}
	keep := add("keep", "") // the network's last attachment would close it
	first := add("one", "web-0")
	leases, err := h.client.Leases(t.Context(), "shared")
	if err != nil || len(leases) != 2 || leases[1].StickyKey != "prod/web-0/eth0" {
		t.Errorf("leases = %+v, %v", leases, err)
	}
	h.must("DEL", "one", nil, c)
	taken := false
	for _, id := range []string{"a", "b", "c", "d"} {
		got := add(id, "")
		taken = taken || got == first
		h.must("DEL", id, nil, c)
	}
	if second := add("two", "web-0"); second != first || second == keep || !taken {
		t.Errorf("web-0 had %s and has %s; others had it meanwhile: %t", first, second, taken)
	}
	for _, id := range []string{"two", "keep"} {
		h.must("DEL", id, nil, c)
	}
	h.clean()
}
