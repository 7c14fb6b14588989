package main

import (
	"encoding/json"
	"math/rand/v2"
	"net"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
)

// A result is written as the library writes it, whatever is in it.
func TestPlainResult(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	text := func() string { return []string{"", "eth0", "/run/x.sock", `a"b<&>`, "ä\n\u2028"}[r.IntN(5)] }
	texts := func() (list []string) {
		for range r.IntN(3) {
			list = append(list, text())
		}
		return list
	}
	number := func() *int { return []*int{nil, types100.Int(0), types100.Int(7)}[r.IntN(3)] }
	ipnet := func() net.IPNet {
		_, n, _ := net.ParseCIDR([]string{"10.1.2.3/24", "fd5e::9/64", "0.0.0.0/0"}[r.IntN(3)])
		return []net.IPNet{*n, {}}[r.IntN(8)/7]
	}
	ip := func() net.IP {
		return []net.IP{nil, {}, net.IPv4(10, 1, 2, 1), net.IPv4(10, 1, 2, 1).To4(), net.ParseIP("fd5e::1"), {1, 2}}[r.IntN(21)/4]
	}
	plain := 0
	for range 3000 {
		res := &types100.Result{DNS: types.DNS{Nameservers: texts(), Domain: text(), Search: texts(), Options: texts()}}
		if r.IntN(3) == 0 {
			res.DNS = types.DNS{}
		}
		for range r.IntN(3) {
			res.Interfaces = append(res.Interfaces, &types100.Interface{Name: text(), Mac: text(), Mtu: r.IntN(3) * 1500, Sandbox: text(), SocketPath: text(), PciID: text()})
		}
		for range r.IntN(3) {
			res.IPs = append(res.IPs, &types100.IPConfig{Address: ipnet(), Gateway: ip(), Interface: number()})
			res.Routes = append(res.Routes, &types.Route{Dst: ipnet(), GW: ip(), MTU: r.IntN(2) * 1400, AdvMSS: r.IntN(2), Priority: r.IntN(2), Table: number(), Scope: number()})
		}
		said := []string{"1.0.0", "1.1.0"}[r.IntN(2)]
		got, err := plainResult(res, said)
		v, werr := res.GetAsVersion(said)
		if werr != nil {
			t.Fatal(werr)
		}
		want, werr := json.MarshalIndent(v, "", "  ")
		if err == nil {
			plain++
		}
		if err == nil && (werr != nil || string(got) != string(want)) || err != nil && werr == nil {
			t.Fatalf("got %s, %v\nwant %s, %v", got, err, want, werr)
		}
	}
	if plain < 1000 {
		t.Errorf("%d of 3000 were written", plain)
	}
}

// What the library writes as null stays the library's.
func TestPlainResultNull(t *testing.T) {
	res := &types100.Result{Interfaces: []*types100.Interface{nil}}
	if got, err := plainResult(res, "1.1.0"); err == nil {
		t.Errorf("%s", got)
	}
}

// Configurations are read the same whether they are plain or not: an escape in a
// key of no meaning makes the whole of it not plain.
func TestPlainConfig(t *testing.T) {
	keys := `"cniVersion":"1.1.0","name":"n","type":"vmnet","mode":"host","subnet":"10.9.0.0/24","mtu":1400,"isolated":true,` +
		`"capabilities":{"mac":true},"dns":{"nameservers":["9.9.9.9"],"domain":"x.internal"},"shim":{"timeout":"3s","spawn":false},"guard":{"ip":false,"deny":["10.0.0.0/8"]}`
	var all []string
	for _, doc := range []string{"{" + keys + "}", "{" + keys + `,"cni.dev/\u0061":"ä"}`} {
		top, said, err := readHead([]byte(doc))
		if err != nil {
			t.Fatal(err)
		}
		c, err := parseConfig(top, said, true)
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(text))
	}
	if all[0] != all[1] {
		t.Errorf("plain %s\nnot   %s", all[0], all[1])
	}
}
