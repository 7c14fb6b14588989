package main

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/vmnet-cni/vmnet/internal/port"
)

// TestE2ECapabilities has the built programs take what containerd and podman
// send: a port is forwarded until DEL, and refused to a second container.
func TestE2ECapabilities(t *testing.T) {
	h := newHost(t)
	port := port.Free(t, 1)[0]
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	forwarded := func() bool {
		c, err := net.Dial("tcp4", addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	}
	with := func(name string) string {
		return conf(t, "", map[string]any{"shim": nil, "driver": "netstack", "runtimeConfig": raw(fmt.Sprintf(`{
			"portMappings":[{"HostPort":%d,"ContainerPort":80,"Protocol":"TCP","HostIP":"127.0.0.1"}],
			"bandwidth":{"IngressRate":10000000,"IngressBurst":4294967295,"EgressRate":0,"EgressBurst":0},
			"aliases":{"shared":[%q]}}`, port, name))})
	}
	out := h.must("ADD", "one", nil, with("web"))
	if r := result(t, out); r.DNS.Domain != "vm.internal" || strings.Join(r.DNS.Search, " ") != "vm.internal" {
		t.Errorf("dns %+v: want the domain of the network's names", r.DNS)
	}
	a, err := h.client.Attachment(t.Context(), "shared", "one", "eth0")
	if err != nil || len(a.Forwards) != 1 || a.Forwards[0].String() != "tcp "+addr || a.Bandwidth.IngressRate != 1e7 ||
		strings.Join(a.Names, " ") != "web.vm.internal one.vm.internal" {
		t.Errorf("attachment %+v, %v", a, err)
	}
	if !forwarded() {
		t.Errorf("nobody listens at %s", addr)
	}
	got := h.exec("ADD", "two", nil, with("web"))
	if got.code == 0 || !strings.Contains(got.stdout, `"code":100`) || !strings.Contains(got.stdout, addr) || !strings.Contains(got.stdout, "shared/one/eth0") {
		t.Errorf("ADD of a taken port: %+v", got)
	}
	h.must("CHECK", "one", nil, withPrev(t, out))
	h.must("DEL", "two", nil, with("web"))
	if !forwarded() {
		t.Errorf("nobody listens at %s after another's DEL", addr)
	}
	h.must("DEL", "one", nil, with("web"))
	if forwarded() {
		t.Errorf("somebody listens at %s after DEL", addr)
	}
	h.clean()
}
