package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// Ranges of the runtime reach the shim in one form, and decide what the
// configuration leaves open.
func TestIPRanges(t *testing.T) {
	emptyDirs(t)
	for _, tt := range []struct{ name, ranges, subnet, gateway, want string }{
		{"of IPv6", `[[{"subnet":"fd5e::/64","rangeStart":"fd5e::100","rangeEnd":"fd5e::1ff","gateway":"fd5e::1"}]]`, "invalid Prefix", "invalid IP", `[{"first":"fd5e::100","last":"fd5e::1ff"}]`},
		{"of both", `[[{"subnet":"10.0.0.0/24","rangeStart":"10.0.0.9"}],[{"subnet":"fd5e::/64","rangeStart":"fd5e::9","rangeEnd":"fd5e::9"}]]`, "10.0.0.0/24", "invalid IP", `[{"first":"10.0.0.9","last":"10.0.0.254"},{"first":"fd5e::9","last":"fd5e::9"}]`},
		{"as in the conventions", `[[{"subnet":"10.0.0.0/24","rangeStart":"10.0.0.9","rangeEnd":"10.0.0.20","gateway":"10.0.0.5"}]]`, "10.0.0.0/24", "10.0.0.5", `[{"first":"10.0.0.9","last":"10.0.0.20"}]`},
		{"as containerd writes", `[[{"Subnet":"10.0.0.0/24","RangeStart":"10.0.0.9","RangeEnd":"","Gateway":""}]]`, "10.0.0.0/24", "invalid IP", `[{"first":"10.0.0.9","last":"10.0.0.254"}]`},
		{"whole subnet", `[[{"subnet":"10.0.0.0/24"}]]`, "10.0.0.0/24", "invalid IP", `[{"first":"10.0.0.1","last":"10.0.0.254"}]`},
		{"two", `[[{"subnet":"10.0.0.0/24","rangeEnd":"10.0.0.8"},{"rangeStart":"10.0.0.9","rangeEnd":"10.0.0.9"}]]`, "10.0.0.0/24", "invalid IP", `[{"first":"10.0.0.1","last":"10.0.0.8"},{"first":"10.0.0.9","last":"10.0.0.9"}]`},
		{"nothing", `[]`, "invalid Prefix", "invalid IP", "null"},
		{"null", `null`, "invalid Prefix", "invalid IP", "null"},
		{"an empty set", `[[]]`, "invalid Prefix", "invalid IP", "null"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fake := newFakeShim(t)
			succeeds(t, "ADD", nil, conf(t, fake.path, map[string]any{"runtimeConfig": raw(`{"IpRanges":` + tt.ranges + `}`)}))
			req := fake.reqs["shared/vm1/eth0"]
			got, _ := json.Marshal(req.Ranges)
			if string(got) != tt.want || req.Network.Subnet.String() != tt.subnet || req.Network.Gateway.String() != tt.gateway {
				t.Errorf("ranges %s, subnet %s, gateway %s: want %s, %s, %s", got, req.Network.Subnet, req.Network.Gateway, tt.want, tt.subnet, tt.gateway)
			}
		})
	}
}

// Addresses come from the range until it is exhausted; those of other ranges of
// the network stay apart.
func TestE2EIPRanges(t *testing.T) {
	h := newHost(t)
	ranged := func(start, end string) string {
		return conf(t, "", map[string]any{"shim": nil, "subnet": "10.7.0.0/24", "runtimeConfig": raw(fmt.Sprintf(
			`{"ipRanges":[[{"subnet":"10.7.0.0/24","rangeStart":%q,"rangeEnd":%q}]]}`, start, end))})
	}
	whole := conf(t, "", map[string]any{"shim": nil, "subnet": "10.7.0.0/24"})
	addr := func(id, conf string) string {
		t.Helper()
		return result(t, h.must("ADD", id, nil, conf)).IPs[0].Address.String()
	}
	if a, b := addr("a", ranged("10.7.0.2", "10.7.0.3")), addr("b", whole); a != "10.7.0.2/24" || b != "10.7.0.3/24" {
		t.Errorf("%s and %s: want 10.7.0.2/24 of the range and the next", a, b)
	}
	got := h.exec("ADD", "c", nil, ranged("10.7.0.2", "10.7.0.3"))
	if got.code == 0 || !strings.Contains(got.stdout, `"code":102`) {
		t.Errorf("ADD from an exhausted range: %+v", got)
	}
	both := conf(t, "", map[string]any{"shim": nil, "subnet": "10.7.0.0/24", "runtimeConfig": raw(
		`{"ipRanges":[[{"subnet":"10.7.0.0/24","rangeStart":"10.7.0.9","rangeEnd":"10.7.0.9"}],[{"subnet":"fd5e:7::/64","rangeStart":"fd5e:7::1234","rangeEnd":"fd5e:7::1234"}]]}`)})
	both = strings.Replace(both, `"name":"shared"`, `"name":"both"`, 1)
	r := result(t, h.must("ADD", "both", nil, both))
	if len(r.IPs) != 2 || r.IPs[0].Address.String() != "10.7.0.9/24" || r.IPs[1].Address.String() != "fd5e:7::1234/64" {
		t.Errorf("of both versions: %+v", r.IPs)
	}
	h.must("DEL", "both", nil, both)
	if c := addr("c", ranged("10.7.0.100", "10.7.0.100")); c != "10.7.0.100/24" {
		t.Errorf("%s: want 10.7.0.100/24", c)
	}
	n, err := h.client.Network(t.Context(), "shared")
	if err != nil || n.Leases != 3 || n.Free != 252-3 {
		t.Errorf("%d leases, %d free, %v: want 3 and 249", n.Leases, n.Free, err)
	}
	h.kill()
	if d := addr("d", whole); d != "10.7.0.4/24" {
		t.Errorf("after a restart: %s: want 10.7.0.4/24", d)
	}
	for _, id := range []string{"a", "b", "c", "d"} {
		h.must("DEL", id, nil, whole)
	}
	h.clean()
}
