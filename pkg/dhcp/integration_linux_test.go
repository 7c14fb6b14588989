package dhcp_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/internal/require"
	"github.com/vmnet-cni/vmnet/pkg/relay"
)

// script is what udhcpc runs: it writes what it was told, then sets the address,
// so that the renewal can go from it.
const script = `#!/bin/sh
echo "event=$1 ip=$ip/$mask router=$router dns=$dns domain=$domain hostname=$hostname mtu=$mtu \
lease=$lease serverid=$serverid search=$search routes=$staticroutes broadcast=$broadcast" >>"$OUT"
case "$1" in
deconfig) busybox ip addr flush dev "$interface" ;;
bound|renew)
	busybox ip addr flush dev "$interface"
	busybox ip addr add "$ip/$mask" dev "$interface"
	busybox arp -i "$interface" -s "$serverid" 02:00:00:00:00:01 ;;
esac
`

// udhcpcBound is what fullConfig tells, in udhcpc's words.
const udhcpcBound = "event=bound ip=192.168.127.2/24 router=192.168.127.1 dns=192.168.127.1 1.1.1.1 domain=vm.internal hostname=guest mtu=1400 " +
	"lease=3600 serverid=192.168.127.1 search=vm.internal example.org " +
	"routes=10.1.0.0/16 192.168.127.9 169.254.169.254/32 0.0.0.0 0.0.0.0/0 192.168.127.1 broadcast=192.168.127.255"

// TestIntegrationUDHCPC lets busybox's client get, renew and give back a lease.
func TestIntegrationUDHCPC(t *testing.T) {
	require.NetNS(t)
	require.Tool(t, "busybox")
	cfg := fullConfig()
	cfg.Search[1] = "example.org"
	r := newResponder(t, cfg)
	client, out := startClient(t, r, script, func(path string) []string {
		return []string{"busybox", "udhcpc", "-f", "-R", "-i", "tap0", "-s", path, "-t", "60", "-T", "1",
			"-O", "mtu", "-O", "search", "-O", "staticroutes", "-O", "broadcast"}
	})
	waitFor(t, out, udhcpcBound)

	cfg.DNS = []netip.Addr{netip.MustParseAddr("9.9.9.9")}
	if err := r.Update(cfg); err != nil {
		t.Fatal(err)
	}
	signal(t, client, syscall.SIGUSR1)
	waitFor(t, out, "event=renew", "dns=9.9.9.9")
	signal(t, client, syscall.SIGTERM)
	_ = client.Wait() // ended by the signal
	deadline := time.Now().Add(patience)
	for r.Stats().Releases == 0 && time.Now().Before(deadline) {
		time.Sleep(5 * time.Millisecond)
	}
	if s := r.Stats(); s.Releases != 1 || s.Acks < 2 || s.Naks != 0 || s.Malformed != 0 {
		t.Errorf("stats %+v", s)
	}
}

// TestIntegrationDhclient lets ISC's client get a lease.
func TestIntegrationDhclient(t *testing.T) {
	require.NetNS(t)
	require.Tool(t, "busybox")
	dhclient := clientTool(t, "dhclient")
	r := newResponder(t, fullConfig())
	_, out := startClient(t, r, dhclientScript, func(path string) []string {
		dir := filepath.Dir(path)
		conf := filepath.Join(dir, "dhclient.conf")
		if err := os.WriteFile(conf, []byte(dhclientConf), 0o600); err != nil {
			t.Fatal(err)
		}
		return []string{dhclient, "-4", "-d", "-e", "OUT=" + filepath.Join(dir, "out"), "-sf", path, "-cf", conf, "-lf", filepath.Join(dir, "leases"), "-pf", filepath.Join(dir, "pid"), "tap0"}
	})
	waitFor(t, out, "event=BOUND ip=192.168.127.2 mask=255.255.255.0 router=192.168.127.1 dns=192.168.127.1 1.1.1.1 domain=vm.internal "+
		"hostname=guest mtu=1400 lease=3600 serverid=192.168.127.1 "+
		"routes=16 10 1 192 168 127 9 32 169 254 169 254 0 0 0 0 0 192 168 127 1 broadcast=192.168.127.255")
}

const dhclientScript = `#!/bin/sh
echo "event=$reason ip=$new_ip_address mask=$new_subnet_mask router=$new_routers dns=$new_domain_name_servers domain=$new_domain_name \
hostname=$new_host_name mtu=$new_interface_mtu lease=$new_dhcp_lease_time serverid=$new_dhcp_server_identifier \
routes=$new_rfc3442_classless_static_routes broadcast=$new_broadcast_address" >>"$OUT"
`

// dhclientConf asks for what Debian's asks for.
const dhclientConf = `option rfc3442-classless-static-routes code 121 = array of unsigned integer 8;
timeout 60;
initial-interval 1;
request subnet-mask, broadcast-address, time-offset, routers, domain-name, domain-name-servers, domain-search,
	host-name, interface-mtu, rfc3442-classless-static-routes, ntp-servers;
`

// TestIntegrationDhcpcd lets dhcpcd get a lease.
func TestIntegrationDhcpcd(t *testing.T) {
	require.NetNS(t)
	require.Tool(t, "busybox")
	dhcpcd := clientTool(t, "dhcpcd")
	r := newResponder(t, fullConfig())
	_, out := startClient(t, r, dhcpcdScript, func(path string) []string {
		conf := filepath.Join(filepath.Dir(path), "dhcpcd.conf")
		text := "noarp\nclientid\noption domain_name_servers, domain_name, domain_search, host_name, classless_static_routes, interface_mtu, rapid_commit\n" +
			"env OUT=" + filepath.Join(filepath.Dir(path), "out") + "\n"
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return []string{dhcpcd, "-4", "-B", "-d", "-t", "60", "-f", conf, "-c", path, "tap0"}
	})
	waitFor(t, out, "ip=192.168.127.2/24", "router=192.168.127.1", "dns=192.168.127.1 1.1.1.1", "search=vm.internal example.org",
		"mtu=1400", "lease=3600", "serverid=192.168.127.1")
}

const dhcpcdScript = `#!/bin/sh
echo "event=$reason ip=$new_ip_address/$new_subnet_cidr router=$new_routers dns=$new_domain_name_servers search=$new_domain_search \
mtu=$new_interface_mtu lease=$new_dhcp_lease_time serverid=$new_dhcp_server_identifier" >>"$OUT"
`

// startClient starts a client on a tap in a network namespace of its own, with
// the responder at the other end of the tap, until the test ends. args gets the
// path of the script, which writes what it is told to out.
func startClient(t *testing.T, r relay.Stage, script string, args func(path string) []string) (client *exec.Cmd, out string) {
	t.Helper()
	return startClientOn(t, []relay.Stage{r}, nil, script, args)
}

// startClientOn is startClient with several stages, and with prepare run in the
// client's namespaces before there is a tap.
func startClientOn(t *testing.T, stages []relay.Stage, prepare func() error, script string, args func(path string) []string) (client *exec.Cmd, out string) {
	t.Helper()
	dir := t.TempDir()
	path, out := filepath.Join(dir, "script"), filepath.Join(dir, "out")
	if err := os.WriteFile(path, []byte(script), 0o700); err != nil { //nolint:gosec // run by the client
		t.Fatal(err)
	}
	argv := args(path)
	var tap *os.File
	err := inNewNetNS(func() (err error) {
		if prepare != nil {
			if err := prepare(); err != nil {
				return err
			}
		}
		if tap, err = openTap("tap0"); err != nil {
			return err
		}
		for _, args := range []string{"ip link set dev tap0 address " + guestMAC.String(), "ip link set dev tap0 up"} {
			if text, err := exec.Command("busybox", strings.Fields(args)...).CombinedOutput(); err != nil {
				return errors.Join(fmt.Errorf("%s: %w: %s", args, err, text), tap.Close())
			}
		}
		client = exec.Command(argv[0], argv[1:]...)
		client.Env = append(os.Environ(), "OUT="+out)
		if prepare != nil { // whatever processes it makes end with the first
			client.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
		}
		if err = client.Start(); err != nil {
			return errors.Join(err, tap.Close())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	stop := serve(t, tap, stages)
	t.Cleanup(func() {
		_ = client.Process.Kill() // it may have ended
		_ = client.Wait()
		stop()
	})
	return client, out
}

func signal(t *testing.T, c *exec.Cmd, s os.Signal) {
	t.Helper()
	if err := c.Process.Signal(s); err != nil {
		t.Error(err)
	}
}

// inNewNetNS runs fn on a thread in a new network namespace, with directories of
// its own where clients keep their state. The thread ends with its goroutine,
// because that does not unlock it.
func inNewNetNS(fn func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := os.NewSyscallError("unshare", unix.Unshare(unix.CLONE_NEWNET|unix.CLONE_NEWNS))
		if err == nil {
			err = os.NewSyscallError("mount", unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
		}
		for _, dir := range []string{"/run", "/var/lib"} {
			if err == nil {
				err = os.NewSyscallError("mount", unix.Mount("none", dir, "tmpfs", 0, ""))
			}
		}
		if err == nil {
			err = fn()
		}
		done <- err
	}()
	return <-done
}

// openTap makes a tap in the thread's namespace.
func openTap(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: "/dev/net/tun", Err: err}
	}
	req, err := unix.NewIfreq(name)
	if err == nil {
		req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	}
	if err != nil {
		return nil, errors.Join(os.NewSyscallError("TUNSETIFF", err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), name), nil
}

// serve answers the frames of the tap until the function that it returns is
// called, which closes the tap.
func serve(t *testing.T, tap *os.File, stages []relay.Stage) (stop func()) {
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]byte, 65536)
		for {
			n, err := tap.Read(buf)
			if err != nil {
				return
			}
			if n < 14 {
				continue
			}
			for _, r := range stages {
				r.FromGuest(buf[:n], func(f []byte) {
					if _, err := tap.Write(f); err != nil && !errors.Is(err, syscall.EIO) && !errors.Is(err, os.ErrClosed) {
						t.Error(err) // EIO: the client took the link down
					}
				})
			}
		}
	})
	return func() {
		if err := tap.Close(); err != nil {
			t.Error(err)
		}
		wg.Wait()
	}
}

// patience is how long a client may take.
const patience = time.Minute

// waitFor waits until a line of the file contains all of want.
func waitFor(t *testing.T, path string, want ...string) {
	t.Helper()
	var text []byte
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		text, _ = os.ReadFile(path) // not there before the first event
		for line := range strings.Lines(string(text)) {
			found := true
			for _, w := range want {
				found = found && strings.Contains(strings.TrimSpace(line), w)
			}
			if found {
				return
			}
		}
	}
	t.Fatalf("want %q in:\n%s", want, text)
}
