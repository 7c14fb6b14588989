package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containernetworking/cni/libcni"
	types100 "github.com/containernetworking/cni/pkg/types/100"
)

// A neighbour is noop at a place of a conflist.
type neighbour struct{ file string }

func newNeighbour(t *testing.T, result string) neighbour {
	n := neighbour{filepath.Join(t.TempDir(), "debug")}
	data, err := json.Marshal(map[string]string{"ReportResult": result})
	if err == nil {
		err = os.WriteFile(n.file, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (n neighbour) conf() map[string]any { return map[string]any{"type": "noop", "debugFile": n.file} }

// command is the last verb that the neighbour did.
func (n neighbour) command(t *testing.T) string {
	t.Helper()
	var seen struct{ Command string }
	data, err := os.ReadFile(n.file)
	if err == nil {
		err = json.Unmarshal(data, &seen)
	}
	if err != nil {
		t.Fatal(err)
	}
	return seen.Command
}

// The plugin works as the first, a middle and the last one of a conflist, at
// every version that has CHECK, with neighbours that make interfaces and change
// results.
func TestE2EChain(t *testing.T) {
	h := newHost(t)
	dirs := []string{h.bin, needReference(t)}
	made := `{"cniVersion":"VERSION","interfaces":[{"name":"br-x","mac":"02:00:00:00:00:99"},{"name":"eth1","sandbox":"vm://one"}],
		"ips":[{"version":"4","interface":1,"address":"10.0.0.2/24","gateway":"10.0.0.1"}],"routes":[{"dst":"10.9.0.0/16","gw":"10.0.0.1"}],"dns":{"nameservers":["10.0.0.1"],"domain":"first"}}`
	self := map[string]any{"type": "vmnet", "capabilities": map[string]bool{"mac": true}}
	for _, version := range []string{"0.4.0", "1.0.0", "1.1.0"} {
		first := newNeighbour(t, strings.Replace(made, "VERSION", version, 1))
		last, change := newNeighbour(t, "PASSTHROUGH"), newNeighbour(t, "INJECT-DNS")
		for name, plugins := range map[string][]map[string]any{
			"only":   {self},
			"first":  {self, last.conf()},
			"last":   {first.conf(), self},
			"middle": {first.conf(), self, change.conf(), last.conf()},
		} {
			t.Run(version+" "+name, func(t *testing.T) {
				list := map[string]any{"cniVersion": version, "name": "shared", "plugins": plugins}
				data, err := json.Marshal(list)
				if err != nil {
					t.Fatal(err)
				}
				conf, err := libcni.NetworkConfFromBytes(data)
				if err != nil {
					t.Fatal(err)
				}
				cni := libcni.NewCNIConfigWithCacheDir(dirs, t.TempDir(), nil)
				rt := &libcni.RuntimeConf{ContainerID: "one", NetNS: "vm://one", IfName: "eth0", CapabilityArgs: map[string]any{"mac": "02:00:00:00:00:42"}}
				res, err := cni.AddNetworkList(t.Context(), conf, rt)
				if err != nil {
					t.Fatal(err)
				}
				r, err := types100.NewResultFromResult(res)
				if err != nil {
					t.Fatal(err)
				}
				checkChained(t, r, name)
				if err := cni.CheckNetworkList(t.Context(), conf, rt); err != nil {
					t.Errorf("CHECK: %v", err)
				}
				if version == "1.1.0" && (name == "only" || name == "last") { // noop passes nothing through where there is nothing
					if err := cni.GetStatusNetworkList(t.Context(), conf); err != nil {
						t.Errorf("STATUS: %v", err)
					}
				}
				if err := cni.DelNetworkList(t.Context(), conf, rt); err != nil {
					t.Errorf("DEL: %v", err)
				}
				if name == "middle" && (first.command(t) != "DEL" || last.command(t) != "DEL") {
					t.Error("the neighbours did not hear DEL")
				}
				h.clean()
			})
		}
	}
}

// checkChained checks the result of the chain: ours is there once, and all of
// the first plugin's.
func checkChained(t *testing.T, r *types100.Result, place string) {
	t.Helper()
	i := slices.IndexFunc(r.Interfaces, func(i *types100.Interface) bool { return i.Name == "eth0" && i.Sandbox == "vm://one" })
	if i < 0 || r.Interfaces[i].Mac != "02:00:00:00:00:42" {
		t.Fatalf("interfaces = %+v", r.Interfaces)
	}
	if !slices.ContainsFunc(r.IPs, func(ip *types100.IPConfig) bool { return ip.Interface != nil && *ip.Interface == i }) {
		t.Errorf("no address is of interface %d", i)
	}
	if place == "only" || place == "first" {
		return
	}
	if len(r.Interfaces) != 3 || r.Interfaces[0].Name != "br-x" || r.Interfaces[1].Name != "eth1" || len(r.IPs) != 3 || *r.IPs[0].Interface != 1 || len(r.Routes) != 3 {
		t.Errorf("what the first plugin made is not there: %+v", r)
	}
	wantDNS := "10.0.0.1"
	if place == "middle" {
		wantDNS = "1.2.3.4" // by the plugin behind ours
	}
	if !slices.Contains(r.DNS.Nameservers, wantDNS) || r.DNS.Domain != "first" {
		t.Errorf("dns = %+v", r.DNS)
	}
}

// When a plugin behind this one fails, the runtime's DEL, without a result,
// leaves nothing.
func TestE2EChainFails(t *testing.T) {
	h := newHost(t)
	bad := newNeighbour(t, "")
	if err := os.WriteFile(bad.file, []byte(`{"ReportError":"no","ReportErrorCode":50}`), 0o600); err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(map[string]any{"cniVersion": "1.1.0", "name": "shared", "plugins": []any{map[string]any{"type": "vmnet"}, bad.conf()}})
	if err != nil {
		t.Fatal(err)
	}
	conf, err := libcni.NetworkConfFromBytes(data)
	if err != nil {
		t.Fatal(err)
	}
	cni := libcni.NewCNIConfigWithCacheDir([]string{h.bin, needReference(t)}, t.TempDir(), nil)
	rt := &libcni.RuntimeConf{ContainerID: "one", NetNS: "vm://one", IfName: "eth0"}
	if _, err := cni.AddNetworkList(t.Context(), conf, rt); err == nil {
		t.Fatal("ADD went well")
	}
	if ids := h.attached(); !slices.Equal(ids, []string{"one"}) {
		t.Errorf("before DEL: %v", ids)
	}
	if err := os.WriteFile(bad.file, []byte(`{}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := cni.DelNetworkList(t.Context(), conf, rt); err != nil {
		t.Error(err)
	}
	h.clean()
}
