package packaging_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/internal/require"
	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// bootEnv has the test with a booted systemd run: "1".
const bootEnv = "VMNET_TEST_SYSTEMD"

const patience = 30 * time.Second

// A machine is a Debian whose systemd is process 1 of namespaces of its own.
type machine struct {
	t    *testing.T
	root string
	pid  int // systemd's, here
}

// boot makes a machine and starts it. Units that would change this machine's kernel
// are masked.
func boot(t *testing.T) *machine {
	t.Helper()
	m := &machine{t: t, root: filepath.Join(t.TempDir(), "root")}
	if base := os.Getenv(baseEnv); base != "" {
		command(t, "cp", "-a", base, m.root)
	} else {
		command(t, require.Tool(t, "debootstrap"), "--variant=minbase", "--include=systemd,iproute2", "bookworm", m.root)
	}
	for _, unit := range []string{"systemd-sysctl", "systemd-modules-load", "systemd-remount-fs", "systemd-logind", "systemd-binfmt", "console-getty", "systemd-udevd", "systemd-timesyncd", "apt-daily", "apt-daily-upgrade", "dpkg-db-backup"} {
		command(t, "ln", "-sf", "/dev/null", m.root+"/etc/systemd/system/"+unit+".service")
	}
	command(t, "ln", "-sf", "/usr/lib/systemd/system/multi-user.target", m.root+"/etc/systemd/system/default.target")
	must(t, os.WriteFile(m.root+"/etc/machine-id", nil, 0o644))
	group := cgroup(t)
	cmd := exec.CommandContext(t.Context(), "sh", "-ec", bootScript, group, m.root)
	cmd.Cancel = func() error { return cmd.Process.Kill() }
	must(t, cmd.Start())
	t.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() })
	m.eventually("systemd is up", func() bool {
		children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", cmd.Process.Pid, cmd.Process.Pid))
		m.pid, _ = strconv.Atoi(strings.TrimSpace(string(children)))
		state, _ := m.try("systemctl", "is-system-running")
		return m.pid != 0 && (strings.HasPrefix(state, "running") || strings.HasPrefix(state, "degraded"))
	})
	return m
}

// cgroup makes a control group for the machine, and removes it with all below.
func cgroup(t *testing.T) string {
	t.Helper()
	top := "/sys/fs/cgroup"
	if _, err := os.Stat(top + "/unified"); err == nil {
		top += "/unified"
	}
	dir := fmt.Sprintf("%s/vmnet-test-%d", top, os.Getpid())
	must(t, os.Mkdir(dir, 0o755))
	t.Cleanup(func() {
		for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			_ = exec.Command("find", dir, "-depth", "-type", "d", "-exec", "rmdir", "{}", ";").Run()
			if _, err := os.Stat(dir); err != nil {
				return
			}
		}
		t.Errorf("%s cannot be removed", dir)
	})
	return dir
}

// bootScript enters the control group $0 and makes of the directory $1 what systemd
// asks of a container (systemd.io/CONTAINER_INTERFACE): of the kernel's settings only
// the network's own can be written.
const bootScript = `
echo $$ >"$0/cgroup.procs"
exec unshare --pid --mount --net --uts --ipc --cgroup --fork --kill-child sh -ec '
cd "$1"
mount --bind . . && cd "$1"
mount -t proc proc proc
mkdir -p tmp/proc && mount -t proc proc tmp/proc
mount --bind proc/sys proc/sys && mount -o remount,bind,ro proc/sys
mount --bind tmp/proc/sys/net proc/sys/net && umount tmp/proc
mount -t sysfs -o ro sysfs sys
mount -t tmpfs tmpfs sys/fs && mkdir -p sys/fs/cgroup && mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=755 tmpfs dev
for n in "null 1 3" "zero 1 5" "full 1 7" "random 1 8" "urandom 1 9" "tty 5 0"; do set -- $n; mknod -m 666 dev/$1 c $2 $3; done
mkdir -p dev/net dev/pts dev/shm && mknod -m 666 dev/net/tun c 10 200
ln -s /proc/self/fd dev/fd && ln -s pts/ptmx dev/ptmx
ip link set lo up
mkdir -p mnt && pivot_root . mnt && umount -l /mnt
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system --log-target=journal
' sh "$1"
`

// try runs a command in the machine.
func (m *machine) try(args ...string) (string, error) {
	enter := append([]string{"-t", strconv.Itoa(m.pid), "--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup", "--"}, args...)
	out, err := exec.CommandContext(m.t.Context(), "nsenter", enter...).CombinedOutput()
	return string(out), err
}

func (m *machine) run(args ...string) string {
	m.t.Helper()
	out, err := m.try(args...)
	if err != nil {
		log, _ := m.try("journalctl", "-u", "vmnet-shim.service", "-n", "40", "--no-pager")
		m.t.Fatalf("%s: %v: %s\n%s", strings.Join(args, " "), err, out, log)
	}
	return out
}

func (m *machine) eventually(what string, is func() bool) {
	m.t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			log, _ := m.try("journalctl", "-n", "60", "--no-pager")
			m.t.Fatalf("not in %s: %s\n%s", patience, what, log)
		}
	}
}

// show returns a property of the service.
func (m *machine) show(property string) string {
	m.t.Helper()
	return strings.TrimSpace(m.run("systemctl", "show", "-P", property, "vmnet-shim.service"))
}

// cni runs a verb of the plugin for the container, whose network namespace may be a
// name only.
func (m *machine) cni(verb, driver, container, netns string) string {
	m.t.Helper()
	conf := fmt.Sprintf(`{"cniVersion":"1.1.0","name":"%s","type":"vmnet","driver":"%s"}`, driver, driver)
	return m.run("env", "CNI_COMMAND="+verb, "CNI_CONTAINERID="+container, "CNI_NETNS="+netns, "CNI_IFNAME=eth0", "CNI_PATH=/opt/cni/bin",
		"sh", "-c", "echo '"+conf+"' | /opt/cni/bin/vmnet")
}

// resolves has the kernel of a namespace ask for the gateway, and waits until it knows.
func (m *machine) resolves(netns string, gateway netip.Addr) {
	m.t.Helper()
	m.eventually(netns+" finds its gateway", func() bool {
		_, _ = m.try("ip", "netns", "exec", netns, "bash", "-c", "ip neigh flush all; echo x >/dev/udp/"+gateway.String()+"/9; sleep 0.2")
		out, _ := m.try("ip", "netns", "exec", netns, "ip", "neigh", "show", gateway.String())
		return strings.Contains(out, "REACHABLE")
	})
}

// asks asks for the gateway on a frame fd until it answers.
func asks(ctx context.Context, guest net.Conn, a shim.Attachment) error {
	mac, err := net.ParseMAC(a.MAC)
	if err != nil {
		return err
	}
	question := vmnet.AskFor(mac, a.IPs[0].Address.Addr(), a.IPs[0].Gateway)
	for buf, end := make([]byte, 2048), time.Now().Add(patience); time.Now().Before(end) && ctx.Err() == nil; {
		_ = guest.SetDeadline(time.Now().Add(time.Second))
		if _, err := guest.Write(question); err != nil {
			return err
		}
		for {
			n, err := guest.Read(buf)
			if err != nil {
				break
			}
			if n >= 42 && buf[12] == 8 && buf[13] == 6 && buf[21] == 2 {
				return nil
			}
		}
	}
	return fmt.Errorf("no answer of %s in %s", a.IPs[0].Gateway, patience)
}

// status returns a line of the shim's status in /proc.
func (m *machine) status(key string) string {
	m.t.Helper()
	out := m.run("grep", "^"+key+":", "/proc/"+m.show("MainPID")+"/status")
	return strings.TrimSpace(strings.TrimPrefix(out, key+":"))
}

// TestSystemdBooted installs the service on a Debian that systemd has booted: guests
// keep their connection while the shim is killed, reloaded and restarted, the unit's
// limits are in force, and nothing is left.
func TestSystemdBooted(t *testing.T) {
	if os.Getenv(bootEnv) == "" {
		t.Skip("slow: set " + bootEnv + "=1")
	}
	require.Root(t)
	t.Chdir("..")
	t.Setenv("CGO_ENABLED", "0")
	m := boot(t)
	for _, pkg := range []string{"./cmd/vmnet-shim", "./plugins/vmnet"} {
		command(t, "go", "build", "-o", m.root+"/opt/programs/", pkg)
	}
	m.run("/opt/programs/vmnet-shim", "install")
	if got := m.show("ActiveState"); got != "inactive" {
		t.Errorf("before the first request the service is %s", got)
	}
	m.cni("ADD", "netstack", "guest", "vm:guest")
	c, guest, a := m.guest("netstack", "guest")
	must(t, asks(t.Context(), guest, a))
	m.run("ip", "netns", "add", "box")
	m.cni("ADD", "netstack", "box", "/var/run/netns/box")
	m.resolves("box", a.IPs[0].Gateway)

	m.confined("0000000000000000")
	for what, end := range map[string][]string{
		"reloaded":  {"systemctl", "reload", "vmnet-shim.service"},
		"restarted": {"systemctl", "restart", "vmnet-shim.service"},
	} {
		m.again(what, end...)
		must(t, asks(t.Context(), guest, a))
		m.resolves("box", a.IPs[0].Gateway)
	}
	for i := range 8 { // more often than systemd's own limit
		m.again(fmt.Sprintf("killed %d", i), "sh", "-c", "kill -9 "+m.show("MainPID"))
		must(t, asks(t.Context(), guest, a))
	}
	m.resolves("box", a.IPs[0].Gateway)

	m.again("given capabilities", "/opt/programs/vmnet-shim", "install", "--tap")
	m.confined("0000000000003400") // CAP_NET_BIND_SERVICE, CAP_NET_ADMIN, CAP_NET_RAW
	m.run("ip", "netns", "add", "kernel")
	m.cni("ADD", "tap", "kernel", "/var/run/netns/kernel")
	b, err := c.Attachment(t.Context(), "tap", "kernel", "eth0")
	must(t, err)
	m.resolves("kernel", b.IPs[0].Gateway)
	m.again("killed with both drivers", "sh", "-c", "kill -9 "+m.show("MainPID"))
	m.resolves("kernel", b.IPs[0].Gateway)
	m.resolves("box", a.IPs[0].Gateway)
	must(t, asks(t.Context(), guest, a))

	m.cni("DEL", "tap", "kernel", "/var/run/netns/kernel")
	m.cni("DEL", "netstack", "box", "/var/run/netns/box")
	m.cni("DEL", "netstack", "guest", "vm:guest")
	m.eventually("systemd keeps nothing", func() bool { return m.show("NFileDescriptorStore") == "0" })
	if links := m.run("ip", "-br", "link"); strings.Count(links, "\n") != 1 {
		t.Errorf("interfaces left:\n%s", links)
	}
	m.run("/opt/programs/vmnet-shim", "uninstall")
	if out, err := m.try("systemctl", "cat", "vmnet-shim.service"); err == nil {
		t.Errorf("the service is still there:\n%s", out)
	}
	if left := m.run("sh", "-c", "find /run /etc/systemd /usr/local /opt/cni -name '*vmnet*' -not -type d 2>/dev/null || true"); left != "" {
		t.Errorf("left:\n%s", left)
	}
}

// TestDebianUpgrade upgrades the package that is in dist from an older one, which is
// the same with another version, while guests are attached: they keep their
// connection, and the new program serves them.
func TestDebianUpgrade(t *testing.T) {
	if os.Getenv(bootEnv) == "" {
		t.Skip("slow: set " + bootEnv + "=1, after make release")
	}
	require.Root(t)
	t.Chdir("..")
	debs, err := filepath.Glob("dist/vmnet_*_linux_" + runtime.GOARCH + ".deb")
	if err != nil || len(debs) != 1 {
		t.Fatalf("packages: %q, %v", debs, err)
	}
	m := boot(t)
	old := filepath.Join(t.TempDir(), "old")
	command(t, "dpkg-deb", "-R", debs[0], old)
	command(t, "sed", "-i", "s/^Version: .*/Version: 0.0.0/", old+"/DEBIAN/control")
	command(t, "dpkg-deb", "-b", old, m.root+"/opt/old.deb")
	command(t, "cp", debs[0], m.root+"/opt/new.deb")

	m.run("dpkg", "-i", "/opt/old.deb")
	m.run("systemctl", "enable", "--now", "vmnet-shim.socket")
	m.cni("ADD", "netstack", "guest", "vm:guest")
	c, guest, a := m.guest("netstack", "guest")
	must(t, asks(t.Context(), guest, a))
	m.run("ip", "netns", "add", "box")
	m.cni("ADD", "netstack", "box", "/var/run/netns/box")
	m.resolves("box", a.IPs[0].Gateway)

	m.again("upgraded", "dpkg", "-i", "/opt/new.deb")
	if exe := m.run("readlink", "/proc/"+m.show("MainPID")+"/exe"); exe != "/usr/bin/vmnet-shim\n" {
		t.Errorf("what serves is %s", exe)
	}
	must(t, asks(t.Context(), guest, a))
	m.resolves("box", a.IPs[0].Gateway)
	list, err := c.Attachments(t.Context())
	if err != nil || len(list) != 2 || !list[0].Peer.Connected && !list[1].Peer.Connected {
		t.Errorf("attachments %+v, %v", list, err)
	}
	m.cni("DEL", "netstack", "box", "/var/run/netns/box")
	m.cni("DEL", "netstack", "guest", "vm:guest")
	m.run("dpkg", "--purge", "vmnet")
	if left := m.run("sh", "-c", "find /run /etc/systemd /usr /opt/cni /var/lib/vmnet -name '*vmnet*' 2>/dev/null || true"); left != "" {
		t.Errorf("left:\n%s", left)
	}
}

// guest returns a client of the machine's shim, and the frame fd of an attachment.
func (m *machine) guest(network, container string) (*shim.Client, net.Conn, shim.Attachment) {
	m.t.Helper()
	c := shim.NewClient(fmt.Sprintf("/proc/%d/root/run/vmnet/shim.sock", m.pid))
	m.t.Cleanup(func() { c.Close() })
	a, err := c.Attachment(m.t.Context(), network, container, "eth0")
	must(m.t, err)
	_, f, err := c.Frames(m.t.Context(), network, container, "eth0")
	must(m.t, err)
	guest, err := net.FileConn(f)
	f.Close()
	must(m.t, err)
	m.t.Cleanup(func() { guest.Close() })
	return c, guest, a
}

// again ends the shim in some way and waits for the next one.
func (m *machine) again(what string, end ...string) {
	m.t.Helper()
	before := m.show("MainPID")
	m.run(end...)
	m.eventually(what+": another shim serves", func() bool {
		now := m.show("MainPID")
		return now != before && now != "0" && m.show("ActiveState") == "active"
	})
	if kept := m.show("NFileDescriptorStore"); kept == "0" {
		m.t.Errorf("%s: systemd keeps nothing", what)
	}
}

// confined checks that the unit's limits are in force.
func (m *machine) confined(caps string) {
	m.t.Helper()
	for key, want := range map[string]string{"CapEff": caps, "CapBnd": caps, "NoNewPrivs": "1", "Seccomp": "2"} {
		if got := m.status(key); got != want {
			m.t.Errorf("%s is %s, want %s", key, got, want)
		}
	}
	// In its mount namespace even a process that may do everything cannot write.
	for _, path := range []string{"/etc/x", "/usr/x", "/root/x", "/proc/sys/kernel/hostname", "/sys/fs/cgroup/x"} {
		if out, err := m.try("nsenter", "-t", m.show("MainPID"), "--mount", "sh", "-c", "echo x >"+path); err == nil || !strings.Contains(out, "Read-only") {
			m.t.Errorf("write %s: %v: %s", path, err, out)
		}
	}
	for _, path := range []string{"/run/vmnet/x", "/var/lib/vmnet/x"} {
		m.run("nsenter", "-t", m.show("MainPID"), "--mount", "sh", "-c", "echo x >"+path+"; rm "+path)
	}
}
