package main

import (
	"net"
	"strings"
	"testing"

	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// TestHostDrift compares host-side interfaces of a result with this host's first
// one, which every host has: loopback.
func TestHostDrift(t *testing.T) {
	all, err := net.Interfaces()
	if err != nil || len(all) == 0 {
		t.Fatal(err, all)
	}
	lo := all[0]
	mac := lo.HardwareAddr.String()
	for _, c := range []struct {
		ours []string // as the shim names them
		in   types100.Interface
		want string
	}{
		{[]string{lo.Name}, types100.Interface{Name: lo.Name, Mac: mac, Mtu: lo.MTU}, ""},
		{[]string{lo.Name}, types100.Interface{Name: lo.Name}, ""}, // versions before 1.1.0 tell less
		{[]string{lo.Name}, types100.Interface{Name: lo.Name, Mtu: lo.MTU + 1}, "the host has"},
		{[]string{lo.Name}, types100.Interface{Name: lo.Name, Mac: "02:00:00:00:00:99"}, "the host has"},
		{[]string{"vmnetgone0"}, types100.Interface{Name: "vmnetgone0"}, `"vmnetgone0": is not on the host any more`},
		{nil, types100.Interface{Name: "vmnetgone0"}, ""},                                  // another plugin's
		{[]string{"vmnetgone0"}, types100.Interface{Name: "vmnetgone0", Sandbox: "x"}, ""}, // not on the host
	} {
		prev := &types100.Result{Interfaces: []*types100.Interface{{Name: "eth0", Sandbox: "vm"}, &c.in}}
		got := strings.Join(hostDrift(shim.Attachment{HostInterfaces: c.ours}, prev), "; ")
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%+v: %q, want %q", c.in, got, c.want)
		}
	}
}
