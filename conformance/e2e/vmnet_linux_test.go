package e2e_test

import (
	"strings"
	"testing"

	"github.com/vmnet-cni/vmnet/conformance/e2e"
	"github.com/vmnet-cni/vmnet/conformance/libvmnet"
)

// TestTwoShims has two shims on one Mac, as those of two users are, whose guests
// meet on the bridge of one network.
func TestTwoShims(t *testing.T) {
	for _, keys := range []map[string]any{{"mode": "shared"}, {"mode": "host"}} {
		t.Run(keys["mode"].(string), func(t *testing.T) {
			w := framework(t, 150000)
			m, n := w.machine(t, keys), w.machine(t, keys)
			portA, ra := push(t, m, "a")
			// Each shim has its own addresses: the second one's first is a's.
			if _, err := n.Add(soon(t), "first", "vm://first"); err != nil {
				t.Fatal(err)
			}
			portB, rb := push(t, n, "b")
			a, b := newGuest(t, portA, ra), newGuest(t, portB, rb)
			addrA, _ := first(t, ra)
			addrB, _ := first(t, rb)
			if _, err := a.Ping(soon(t), addrB.Addr()); err != nil {
				t.Error(err)
			}
			pages(t, a, b, addrA.Addr(), addrB.Addr())
			detach(t, m, "a", a)
			detach(t, n, "b", b)
			detach(t, n, "first", nil)
		})
	}
}

// TestTwoShimsLogical has the second shim ask for the subnet of a logical network,
// which the framework gives to nobody else: ADD says what may be the matter, and
// works when the first network is gone.
func TestTwoShimsLogical(t *testing.T) {
	w := frameworkWith(t, "vmnet-26", libvmnet.Build(t, libvmnet.Config{}), true)
	m, n := w.machine(t, nil), w.machine(t, nil)
	port, r := push(t, m, "a")
	a := newGuest(t, port, r)
	refused(t, n, macSubnet, "is in use by another network")
	detach(t, m, "a", a)
	port, r = push(t, n, "b")
	detach(t, n, "b", newGuest(t, port, r))
}

// refused has ADD fail with an error that says all of want.
func refused(t *testing.T, m *e2e.Machine, want ...string) {
	t.Helper()
	p, err := m.AddPush(soon(t), "refused")
	if err == nil {
		p.File.Close()
		t.Fatal("ADD has worked")
	}
	for _, text := range want {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("ADD: %v\nwant it to say %q", err, text)
		}
	}
	empty(t, m)
}

// TestFaults has the framework refuse what an ADD needs. The error says what may
// be the matter, and nothing is left; the next ADD works.
func TestFaults(t *testing.T) {
	const once = ",count.fail.start=1,count.fail.network.create=1"
	for _, c := range []struct {
		name, controls string
		release        int
		want           []string
	}{
		{"start", "fail.start=1001", 150000, []string{"vmnet_start_interface", "1001", macSubnet, "Internet Sharing is on"}},
		{"start that returns nothing", "fail.start=1001,null.start=1", 150000, []string{"vmnet_start_interface", "Internet Sharing is on"}},
		{"sharing busy", "fail.start=1009", 150000, []string{"turn off Internet Sharing in System Settings"}},
		{"start on a network", "fail.start=1001", 260000, []string{"vmnet_interface_start_with_network", "Internet Sharing is on"}},
		{"network", "fail.network.create=1009", 260000, []string{"vmnet_network_create", "turn off Internet Sharing in System Settings"}},
		{"no privilege", "fail.network.create=1005", 260000, []string{"vmnet_network_create", "codesign"}},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) {
			w := framework(t, c.release)
			w.env = append(w.env, "LIBVMNET_TEST="+c.controls+once)
			m := w.machine(t, nil)
			refused(t, m, c.want...)
			port, r := push(t, m, "a")
			detach(t, m, "a", newGuest(t, port, r))
		})
	}
}

// TestHang has the framework not answer: ADD ends when its time is up, with an
// error that says so.
func TestHang(t *testing.T) {
	for _, release := range []int{150000, 260000} {
		t.Run(releaseName(release), func(t *testing.T) {
			w := framework(t, release)
			w.env = append(w.env, "LIBVMNET_TEST=hang.start=2")
			for _, timeout := range []string{"2s", "30s"} { // the shim's start may take all of the first on a busy machine
				m := w.machine(t, map[string]any{"shim": map[string]any{"timeout": timeout}})
				p, err := m.AddPush(soon(t), "hangs")
				if err == nil {
					p.File.Close()
					t.Fatal("ADD has worked")
				}
				empty(t, m)
				if strings.Contains(err.Error(), "no answer") {
					return
				}
				t.Logf("ADD with %s: %v", timeout, err)
			}
			t.Error("no ADD has told of a framework that does not answer")
		})
	}
}

// TestOtherLibrary has a library without our test controls in the framework's
// place.
func TestOtherLibrary(t *testing.T) {
	lib := libvmnet.Build(t, libvmnet.Config{NoControls: true})
	w := frameworkWith(t, "other", lib, false)
	for _, how := range ways()[:2] {
		t.Run(how.frames, func(t *testing.T) { everything(t, w, how) })
	}
}

// TestHarsh goes through everything with a shim whose garbage collector runs at
// every opportunity, and with a library that has the address sanitizer: either
// would find memory that the other side still uses, or uses no more.
func TestHarsh(t *testing.T) {
	for _, release := range []int{260000, 150000} {
		t.Run(releaseName(release), func(t *testing.T) {
			if race {
				t.Skip("one sanitizer at a time")
			}
			lib := libvmnet.Build(t, libvmnet.Config{Release: release, Sanitize: true})
			w := frameworkWith(t, "harsh", lib, release < 260000)
			w.env = append(w.env, "GOGC=1")
			for _, how := range ways()[:2] {
				t.Run(how.frames, func(t *testing.T) { everything(t, w, how) })
			}
		})
	}
}
