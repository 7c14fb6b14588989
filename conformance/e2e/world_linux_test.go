package e2e_test

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"testing"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/conformance/libvmnet"
	"github.com/vmnet-cni/vmnet/internal/require"
)

// A namespace is a network namespace. It is there as long as the file is open.
type namespace struct{ file *os.File }

// newNamespace makes one that ends with the test.
func newNamespace(t testing.TB) namespace {
	t.Helper()
	require.NetNS(t)
	var ns namespace
	err := namespace{}.do(func() (err error) {
		if err = unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return os.NewSyscallError("unshare", err)
		}
		ns.file, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.file.Close() })
	return ns
}

// do runs fn on a thread in the namespace, which ends with it; programs that fn
// starts are in the namespace too.
func (ns namespace) do(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: see its documentation
		if ns.file != nil {
			if err := unix.Setns(int(ns.file.Fd()), unix.CLONE_NEWNET); err != nil {
				done <- os.NewSyscallError("setns", err)
				return
			}
		}
		done <- fn()
	}()
	return <-done
}

// script runs a shell script in the namespace.
func (ns namespace) script(t testing.TB, text string, args ...string) {
	t.Helper()
	err := ns.do(func() error {
		out, err := exec.Command("sh", append([]string{"-ec", text, "sh"}, args...)...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The addresses of a Mac and of the world outside, of a block that is kept for
// documentation (RFC 5737).
const (
	macGateway  = "192.168.222.1"
	macUplink   = "198.51.100.2"
	outsideAddr = "198.51.100.1"
)

// arrangeMac makes the Mac's end of the network, a tap, and its way outside with
// NAT. $1 is the namespace of the outside.
const arrangeMac = `
echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6
echo 1 >/proc/sys/net/ipv4/ip_forward
ip link set lo up
ip tuntap add dev tap0 mode tap
ip addr add ` + macGateway + `/24 dev tap0
ip link set tap0 up
ip link add up0 type veth peer name out0
ip link set out0 netns "$1"
ip addr add ` + macUplink + `/24 dev up0
ip link set up0 up
nft add table ip nat
nft 'add chain ip nat post { type nat hook postrouting priority srcnat; }'
nft add rule ip nat post oifname up0 masquerade`

// framework is the world of driver vmnet on a Mac with that release: the library
// with the framework's ABI, and as the network's far end a tap in a namespace,
// whose kernel routes to another one with NAT. With the newest release the shim
// is on the Mac itself; with an older one it reaches it by the broker, beside
// which other shims may be.
func framework(t testing.TB, release int) *world {
	t.Helper()
	lib := libvmnet.Build(t, libvmnet.Config{Release: release, Sanitize: os.Getenv(sanitizeEnv) != ""})
	return frameworkWith(t, releaseName(release), lib, release < 260000)
}

// frameworkWith is framework with a library, and with or without the broker.
func frameworkWith(t testing.TB, name string, lib libvmnet.Library, broker bool) *world {
	t.Helper()
	mac, outside := newMac(t)
	w := &world{
		name:   name,
		keys:   map[string]any{"driver": "vmnet", "subnet": macSubnet},
		env:    append(slices.Clip(lib.Env), libvmnet.PathEnv+"="+lib.Path),
		floods: true,
		listen: listenAt(outside),
		at:     atOutside,
	}
	const tap = "LIBVMNET_TAP=tap0"
	if !broker {
		w.do, w.env = mac.do, append(w.env, tap)
		return w
	}
	var env string
	err := mac.do(func() error { env = libvmnet.StartBroker(t, lib, append(slices.Clip(lib.Env), tap)...); return nil })
	if err != nil || env == "" {
		t.Fatalf("start the broker on the Mac: %v", err)
	}
	w.env = append(w.env, env)
	return w
}

// kernel is the world of driver tap: a machine in a namespace of its own, with a
// way to another one.
func kernel(t testing.TB) *world {
	t.Helper()
	require.Root(t)
	require.Tool(t, "ip")
	host, outside := newNamespace(t), newNamespace(t)
	host.script(t, `ip link set lo up; ip link add up0 type veth peer name out0; ip link set out0 netns "$1"
ip addr add `+macUplink+`/24 dev up0; ip link set up0 up`, fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), outside.file.Fd()))
	outside.script(t, "ip link set lo up; ip addr add "+outsideAddr+"/24 dev out0; ip link set out0 up")
	w := &world{name: "tap", keys: map[string]any{"driver": "tap"}, floods: true, do: host.do}
	w.listen, w.at = listenAt(outside), atOutside
	return w
}

// listenAt returns what opens a socket in the namespace outside.
func listenAt(outside namespace) func(testing.TB) net.Listener {
	return func(t testing.TB) (l net.Listener) {
		t.Helper()
		err := outside.do(func() (err error) { l, err = net.Listen("tcp4", outsideAddr+":0"); return err })
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
}

func atOutside(_ netip.Prefix, l net.Listener) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(outsideAddr), portOf(l))
}

// sanitizeEnv, when set, has the tests use a library with the address sanitizer.
const sanitizeEnv = "VMNET_E2E_SANITIZE"

// newMac makes the namespaces of a Mac and of the world outside.
func newMac(t testing.TB) (mac, outside namespace) {
	t.Helper()
	require.Tool(t, "ip")
	require.Tool(t, "nft")
	mac, outside = newNamespace(t), newNamespace(t)
	mac.script(t, arrangeMac, fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), outside.file.Fd()))
	outside.script(t, "ip link set lo up; ip addr add "+outsideAddr+"/24 dev out0; ip link set out0 up")
	names(t, mac)
	return mac, outside
}

// names answers DNS on the Mac, as its resolver does for shared networks.
func names(t testing.TB, mac namespace) {
	t.Helper()
	srv := &dns.Server{Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		r := new(dns.Msg).SetReply(q)
		if q.Question[0].Name == "gateway.vm.internal." && q.Question[0].Qtype == dns.TypeA {
			r.Answer = []dns.RR{&dns.A{
				Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60},
				A:   net.ParseIP(macGateway),
			}}
		}
		_ = w.WriteMsg(r) // a guest that gets no answer says so
	})}
	err := mac.do(func() (err error) { srv.PacketConn, err = net.ListenPacket("udp4", macGateway+":53"); return err })
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.ActivateAndServe() }()
	t.Cleanup(func() { srv.PacketConn.Close(); <-done })
}
