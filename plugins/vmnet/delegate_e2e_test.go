package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/vmnet-cni/vmnet/conformance/guest"
	"github.com/vmnet-cni/vmnet/pkg/handover"
	"github.com/vmnet-cni/vmnet/pkg/relay"
)

// reserved returns the addresses that host-local has written down.
func reserved(t *testing.T, dataDir string) (addrs []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dataDir, "shared"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "10.") {
			addrs = append(addrs, e.Name())
		}
	}
	return addrs
}

// hostLocal returns a configuration with host-local and where it keeps what.
func hostLocal(t *testing.T, dataDir string, keys map[string]any) string {
	all := map[string]any{"shim": nil, "ipam": raw(fmt.Sprintf(
		`{"type":"host-local","dataDir":%q,"ranges":[[{"subnet":"10.7.0.0/24","rangeStart":"10.7.0.20","gateway":"10.7.0.9"}]],"routes":[{"dst":"0.0.0.0/0"}]}`, dataDir))}
	for k, v := range keys {
		all[k] = v
	}
	return conf(t, "", all)
}

// The guest's address comes from host-local, by DHCP, exactly; the gateway is
// where host-local says; a name server and the internet are reached as with the
// built-in allocator.
func TestE2EHostLocal(t *testing.T) {
	h := newHost(t)
	data := t.TempDir()
	env := map[string]string{"CNI_PATH": needReference(t)}
	c := hostLocal(t, data, nil)
	h.must("STATUS", "x", env, c)
	l, err := handover.Listen(filepath.Join(h.dir, "vm.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	offers := make(chan *handover.Offer, 1)
	go func() {
		if o, err := l.Accept(t.Context()); err == nil && o.Accept() == nil {
			offers <- o
		}
	}()
	vm := map[string]string{"CNI_PATH": env["CNI_PATH"], "CNI_NETNS": l.Path()}
	out := h.must("ADD", "one", vm, c)
	r := result(t, out)
	if got := r.IPs[0]; got.Address.String() != "10.7.0.20/24" || got.Gateway.String() != "10.7.0.9" || *got.Interface != 0 || len(r.Routes) != 1 {
		t.Errorf("result = %s", out)
	}
	o := <-offers
	port, err := relay.NewDatagramPort(o.File, o.Message.MaxFrameSize)
	if err != nil {
		t.Fatal(err)
	}
	g, err := guest.New(port, guest.Config{MAC: mustMAC(t, o.Message.MAC), MTU: o.Message.MTU})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	lease, err := g.DHCP(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if lease.Address.String() != "10.7.0.20/24" || lease.Router.String() != "10.7.0.9" {
		t.Errorf("DHCP gave %+v", lease)
	}
	if _, err := g.Ping(t.Context(), lease.Router); err != nil {
		t.Errorf("ping of the gateway: %v", err)
	}
	h.must("ADD", "two", env, c)
	if got := reserved(t, data); !slices.Equal(got, []string{"10.7.0.20", "10.7.0.21"}) {
		t.Errorf("reserved: %v", got)
	}
	with := func(out string) string { return hostLocal(t, data, map[string]any{"prevResult": raw(out)}) }
	h.must("CHECK", "one", vm, with(out))
	// Drift that only host-local knows of.
	if err := os.Remove(filepath.Join(data, "shared", "10.7.0.20")); err != nil {
		t.Fatal(err)
	}
	if got := h.exec("CHECK", "one", vm, with(out)); got.code == 0 || !strings.Contains(got.stdout, "host-local") {
		t.Errorf("CHECK without the reservation: %+v", got)
	}
	h.must("GC", "", env, hostLocal(t, data, map[string]any{"cni.dev/valid-attachments": raw(`[{"containerID":"one","ifname":"eth0"}]`)}))
	h.must("DEL", "one", vm, with(out))
	h.must("DEL", "two", env, c) // its interface went with GC; host-local 1.9.1 leaves its reservation to DEL
	h.must("DEL", "two", map[string]string{"CNI_PATH": env["CNI_PATH"], "CNI_NETNS": ""}, c)
	if got := reserved(t, data); len(got) != 0 {
		t.Errorf("still reserved: %v", got)
	}
	h.clean()
}

// After the shim was killed, attachments come back with what their IPAM plugin
// gave; their addresses are nobody else's.
func TestE2EHostLocalRestart(t *testing.T) {
	h := newHost(t)
	data := t.TempDir()
	env := map[string]string{"CNI_PATH": needReference(t)}
	c := hostLocal(t, data, nil)
	out := h.must("ADD", "one", env, c)
	h.kill()
	h.must("ADD", "two", env, c)
	h.must("CHECK", "one", env, hostLocal(t, data, map[string]any{"prevResult": raw(out)}))
	// Somebody else gives the same address again.
	same := conf(t, "", map[string]any{"shim": nil, "ipam": raw(`{"type":"static","addresses":[{"address":"10.7.0.20/24","gateway":"10.7.0.9"}]}`)})
	if got := h.exec("ADD", "three", env, same); got.code == 0 || !strings.Contains(got.stdout, "10.7.0.20") || !strings.Contains(got.stdout, `"code":100`) {
		t.Errorf("ADD with an address that is taken: %+v", got)
	}
	h.must("DEL", "one", env, c)
	h.must("ADD", "three", env, same)
	h.must("DEL", "three", env, same)
	h.must("DEL", "two", env, c)
	h.clean()
}

// static takes the address from the runtime, in each way that there is.
func TestE2EStatic(t *testing.T) {
	h := newHost(t)
	path := needReference(t)
	for name, tt := range map[string]struct {
		keys map[string]any
		args string
		want string
	}{
		"configuration": {keys: map[string]any{"ipam": raw(`{"type":"static","addresses":[{"address":"10.7.0.5/24","gateway":"10.7.0.1"}],"routes":[{"dst":"10.9.0.0/16"}],"dns":{"nameservers":["9.9.9.9"]}}`)}, want: "10.7.0.5/24"},
		"CNI_ARGS":      {keys: map[string]any{"ipam": raw(`{"type":"static"}`)}, args: "IgnoreUnknown=1;IP=10.7.0.6/24;GATEWAY=10.7.0.1", want: "10.7.0.6/24"},
		"ips":           {keys: map[string]any{"ipam": raw(`{"type":"static"}`), "runtimeConfig": raw(`{"ips":["10.7.0.7/24"]}`)}, want: "10.7.0.7/24"},
		"args":          {keys: map[string]any{"ipam": raw(`{"type":"static"}`), "args": raw(`{"cni":{"ips":["10.7.0.8/24"]}}`)}, want: "10.7.0.8/24"},
	} {
		t.Run(name, func(t *testing.T) {
			tt.keys["shim"], tt.keys["name"] = nil, "n-"+name
			env := map[string]string{"CNI_PATH": path, "CNI_ARGS": tt.args}
			c := conf(t, "", tt.keys)
			r := result(t, h.must("ADD", "one", env, c))
			if r.IPs[0].Address.String() != tt.want {
				t.Errorf("address %s: want %s", r.IPs[0].Address.String(), tt.want)
			}
			tt.keys["prevResult"] = raw(h.encode(r))
			h.must("CHECK", "one", env, conf(t, "", tt.keys))
			h.must("DEL", "one", env, c)
			h.clean()
		})
	}
}

// noop, the double of the CNI project, injects errors and sees what it is given.
func TestE2ENoop(t *testing.T) {
	h := newHost(t)
	path := needReference(t)
	file := filepath.Join(t.TempDir(), "debug")
	env := map[string]string{"CNI_PATH": path, "CNI_ARGS": "IgnoreUnknown=1;DEBUG=" + file}
	c := conf(t, "", map[string]any{"shim": nil, "ipam": raw(`{"type":"noop"}`)})
	set := func(keys map[string]any) {
		t.Helper()
		data, err := json.Marshal(keys)
		if err == nil {
			err = os.WriteFile(file, data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	good := `{"cniVersion":"1.1.0","ips":[{"address":"10.7.0.9/24"}]}`
	set(map[string]any{"ReportResult": good})
	out := h.must("ADD", "one", env, c)
	var seen struct {
		Command string
		CmdArgs struct {
			ContainerID, Netns, IfName, Args, Path string
			StdinData                              []byte
		}
	}
	data, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(data, &seen)
	}
	if a := seen.CmdArgs; err != nil || string(a.StdinData) != c || a.ContainerID != "one" || a.Netns != "vm://one" || a.IfName != "eth0" || a.Path != path || a.Args != env["CNI_ARGS"] {
		t.Errorf("noop saw %s, %v", data, err)
	}
	for _, call := range [][2]string{
		{"CHECK", conf(t, "", map[string]any{"shim": nil, "ipam": raw(`{"type":"noop"}`), "prevResult": raw(out)})},
		{"STATUS", c}, {"DEL", c}, {"ADD", strings.Replace(c, "shared", "another", 1)},
		{"GC", conf(t, "", map[string]any{"shim": nil, "ipam": raw(`{"type":"noop"}`), "cni.dev/valid-attachments": raw(`[]`)})},
	} {
		verb, stdin := call[0], call[1]
		set(map[string]any{"ReportError": "banana", "ReportErrorCode": 117, "ReportStderr": "noise on stderr"})
		got := h.exec(verb, "one", env, stdin)
		if got.code == 0 || !strings.Contains(got.stdout, "banana") || !strings.Contains(got.stdout, `"code":117`) || !strings.Contains(got.stderr, "noise on stderr") {
			t.Errorf("%s: %+v", verb, got)
		}
	}
	set(map[string]any{})
	h.must("DEL", "one", env, c)
	h.must("DEL", "one", env, strings.Replace(c, "shared", "another", 1))
	h.clean()
}

// Parallel ADD and DEL: host-local never gives an address twice, nothing stays.
func TestE2EHostLocalParallel(t *testing.T) {
	h := newHost(t)
	data := t.TempDir()
	env := map[string]string{"CNI_PATH": needReference(t)}
	c := hostLocal(t, data, nil)
	outs := make([]outcome, 24)
	var wg sync.WaitGroup
	for i := range outs {
		wg.Go(func() { outs[i] = h.exec("ADD", fmt.Sprintf("vm%d", i), env, c) })
	}
	wg.Wait()
	seen := map[string]bool{}
	for i, out := range outs {
		if out.code != 0 {
			t.Fatalf("vm%d: %+v", i, out)
		}
		r := result(t, out.stdout)
		seen[r.IPs[0].Address.String()] = true
	}
	if len(seen) != len(outs) {
		t.Errorf("%d different addresses: want %d", len(seen), len(outs))
	}
	for i := range outs {
		wg.Go(func() { outs[i] = h.exec("DEL", fmt.Sprintf("vm%d", i), env, c) })
	}
	wg.Wait()
	for i, out := range outs {
		if out.code != 0 {
			t.Errorf("DEL vm%d: %+v", i, out)
		}
	}
	if got := reserved(t, data); len(got) != 0 {
		t.Errorf("still reserved: %v", got)
	}
	h.clean()
}

// kill ends shim and keeper as the loss of power does. The shim is stopped first,
// or it would start another keeper.
func (h *host) kill() {
	h.t.Helper()
	s, err := h.client.Status(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	for _, k := range []struct {
		pid int
		sig syscall.Signal
	}{{s.PID, syscall.SIGSTOP}, {s.Keeper, syscall.SIGKILL}, {s.PID, syscall.SIGKILL}} {
		if err := syscall.Kill(k.pid, k.sig); err != nil {
			h.t.Fatal(err)
		}
	}
	waitFor(h.t, "end of the shim", func() bool { _, err := h.client.Status(h.t.Context()); return err != nil })
}

// Both IP versions come from host-local, and from static, with real plugins.
func TestE2EDelegate6(t *testing.T) {
	h := newHost(t)
	data := t.TempDir()
	env := map[string]string{"CNI_PATH": needReference(t)}
	for name, ipam := range map[string]string{
		"local": fmt.Sprintf(`{"type":"host-local","dataDir":%q,"ranges":[[{"subnet":"10.7.0.0/24","rangeStart":"10.7.0.20"}],
			[{"subnet":"fd5e:7::/64","rangeStart":"fd5e:7::20"}]],"routes":[{"dst":"0.0.0.0/0"},{"dst":"::/0"}]}`, data),
		"fixed": `{"type":"static","addresses":[{"address":"10.7.0.20/24","gateway":"10.7.0.1"},{"address":"fd5e:7::20/64","gateway":"fd5e:7::1"}],
			"routes":[{"dst":"0.0.0.0/0"},{"dst":"::/0"}]}`,
	} {
		c := strings.Replace(conf(t, "", map[string]any{"shim": nil, "ipam": raw(ipam)}), `"name":"shared"`, `"name":"`+name+`"`, 1)
		r := result(t, h.must("ADD", "one", env, c))
		var got []string
		for _, ip := range r.IPs {
			got = append(got, ip.Address.String()+" "+ip.Gateway.String())
		}
		if !slices.Equal(got, []string{"10.7.0.20/24 10.7.0.1", "fd5e:7::20/64 fd5e:7::1"}) || len(r.Routes) != 2 {
			t.Errorf("%s: addresses %q, routes %v", name, got, r.Routes)
		}
		h.must("CHECK", "one", env, strings.Replace(c, "{", `{"prevResult":`+encode(t, r)+`,`, 1))
		h.kill()
		if again, err := h.client.Attachment(t.Context(), name, "one", "eth0"); err == nil && again.Problem != "" {
			t.Errorf("%s: after a restart: %s", name, again.Problem)
		}
		h.must("DEL", "one", env, c)
	}
	h.clean()
}

func encode(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
