package server_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// wantLeases compares the container IDs of the leases of network n.
func wantLeases(t *testing.T, r *running, want ...string) {
	t.Helper()
	list, err := r.Leases(t.Context(), "n")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range list {
		got = append(got, l.ContainerID+"/"+l.IfName)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("leases %v, want %v", got, want)
	}
}

// TestLeasesEndWithAttachments: DELETE and GC release the leases of what they
// delete, each interface's own, and who comes again under the same name gets the
// address again, also after a restart.
func TestLeasesEndWithAttachments(t *testing.T) {
	d := newDirs(t)
	r := start(t, config(d))
	req := func(key string) (q shim.AttachRequest) {
		q.Network.Subnet = netip.MustParsePrefix("10.9.9.0/24")
		q.Lease.StickyKey = key
		return q
	}
	first := map[string]netip.Prefix{}
	for _, name := range []string{"c1/eth0", "c1/eth1", "c2/eth0", "c3/eth0"} {
		id, ifname, _ := strings.Cut(name, "/")
		a, err := r.Attach(t.Context(), "n", id, ifname, req("key-of-"+name))
		if err != nil {
			t.Fatal(err)
		}
		first[name] = a.IPs[0].Address
	}
	if err := r.Detach(t.Context(), "n", "c1", "eth1"); err != nil {
		t.Error(err)
	}
	wantLeases(t, r, "c1/eth0", "c2/eth0", "c3/eth0")
	if _, err := r.GC(t.Context(), "n", []shim.AttachmentID{{ContainerID: "c3", IfName: "eth0"}}); err != nil {
		t.Error(err)
	}
	wantLeases(t, r, "c3/eth0")
	r.stop()
	r = start(t, config(d))
	for _, name := range []string{"c2/eth0", "c1/eth1", "c1/eth0"} {
		a, err := r.Attach(t.Context(), "n", "new-"+name[1:2], name[3:], req("key-of-"+name))
		if err != nil || a.IPs[0].Address != first[name] {
			t.Errorf("%s: %+v, %v, want %s", name, a.IPs, err, first[name])
		}
	}
	wantLeases(t, r, "c3/eth0", "new-1/eth0", "new-1/eth1", "new-2/eth0")
}

// TestQuarantine fills a small network whose addresses were just released.
func TestQuarantine(t *testing.T) {
	r := start(t, config(newDirs(t)))
	req := func(id string, l shim.LeasePolicy) (shim.Attachment, error) {
		q := shim.AttachRequest{Lease: l}
		q.Network.Subnet = netip.MustParsePrefix("10.9.9.0/29") // .2 to .5
		return r.Attach(t.Context(), "n", id, "eth0", q)
	}
	for _, id := range []string{"stays", "a", "b", "c"} {
		if _, err := req(id, shim.LeasePolicy{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []string{"b", "a"} {
		if err := r.Detach(t.Context(), "n", id, "eth0"); err != nil {
			t.Fatal(err)
		}
	}
	_, err := req("strict", shim.LeasePolicy{WhenFull: shim.WhenFullRefuse, Quarantine: "1h"})
	if shim.CodeOf(err) != shim.CodeExhausted || !strings.Contains(err.Error(), "10.9.9.4 comes free in") {
		t.Errorf("with whenFull refuse: %v", err)
	}
	if a, err := req("a", shim.LeasePolicy{WhenFull: shim.WhenFullRefuse}); err != nil || a.IPs[0].Address.Addr().String() != "10.9.9.3" {
		t.Errorf("its own, in quarantine: %+v, %v", a.IPs, err)
	}
	if a, err := req("new", shim.LeasePolicy{}); err != nil || a.IPs[0].Address.Addr().String() != "10.9.9.4" {
		t.Errorf("nothing else is free: %+v, %v", a.IPs, err)
	}
	list, err := r.Leases(t.Context(), "n")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range list {
		if l.Early != (l.ContainerID == "new") {
			t.Errorf("lease %s: early %t", l.ContainerID, l.Early)
		}
	}
	if _, err := req("a", shim.LeasePolicy{WhenFull: shim.WhenFullRefuse, Quarantine: "60s"}); err != nil { // the default, in other words
		t.Errorf("the same request: %v", err)
	}
}

func TestBadLeasePolicy(t *testing.T) {
	r := start(t, config(newDirs(t)))
	for text, change := range map[string]func(q *shim.AttachRequest){
		`lease.stickyKey`:                           func(q *shim.AttachRequest) { q.Lease.StickyKey = "a\nb" },
		`lease.quarantine "soon": want a duration`:  func(q *shim.AttachRequest) { q.Lease.Quarantine = "soon" },
		`lease.quarantine "-1s": want a duration`:   func(q *shim.AttachRequest) { q.Lease.Quarantine = "-1s" },
		`lease.whenFull "wait": want "reuse" or "r`: func(q *shim.AttachRequest) { q.Lease.WhenFull = "wait" },
		`ipam "none" does not allocate`: func(q *shim.AttachRequest) {
			q.Lease.StickyKey, q.Network.IPAM = "x", shim.IPAMNone
		},
	} {
		var q shim.AttachRequest
		change(&q)
		if _, err := r.Attach(t.Context(), "n", "c", "eth0", q); shim.CodeOf(err) != shim.CodeInvalid || !strings.Contains(err.Error(), text) {
			t.Errorf("%v, want %q", err, text)
		}
	}
}
