package doctor_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/vmnet-cni/vmnet/cmd/vmnet-shim/doctor"
	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// A bed is a machine that a test makes ill.
type bed struct {
	doctor.Machine
	t    *testing.T
	out  map[string]string // of commands, by their line
	fail map[string]string // commands that fail, with what they print
	shim doctor.Shim
	err  error // of the shim
	link []doctor.Link
	used []doctor.Prefix
	deny map[string]error // files that do not open
	dial error
	free uint64
}

// healthy returns a machine on which nothing is wrong, with a network, a guest and a
// configuration.
func healthy(t *testing.T, goos string) *bed {
	b := &bed{t: t, out: map[string]string{}, fail: map[string]string{}, deny: map[string]error{}, free: 1 << 40}
	b.Machine = doctor.Machine{
		OS: goos, Root: t.TempDir(), UID: os.Getuid(), Home: "/home/u", Version: "v1", Program: "/usr/local/bin/vmnet-shim",
		Dirs:    shim.Dirs{Runtime: "/run/vmnet", State: "/var/lib/vmnet"},
		CNIPath: []string{"/opt/cni/bin"}, CNIConf: []string{"/etc/cni/net.d"}, Path: []string{"/usr/local/bin"},
		Run: b.run, Shim: func(context.Context) (doctor.Shim, error) { return b.shim, b.err },
		Links:    func() ([]doctor.Link, error) { return b.link, nil },
		Prefixes: func() ([]doctor.Prefix, error) { return b.used, nil },
		Dial:     func(context.Context, netip.Addr) error { return b.dial },
		Open:     func(path string) error { return b.deny[strings.TrimPrefix(path, b.Root)] },
		Free:     func(string) (uint64, error) { return b.free, nil },
	}
	for _, d := range []string{"/run/vmnet/s", "/var/lib/vmnet", "/etc/cni/net.d", "/run/netns"} {
		must(t, os.MkdirAll(filepath.Join(b.Root, d), 0o755))
	}
	b.file("/opt/cni/bin/vmnet", "x", 0o755)
	b.file("/opt/cni/bin/tuning", "x", 0o755)
	b.file("/usr/local/bin/vmnet-shim", "x", 0o755)
	b.file("/etc/cni/net.d/10.conflist", `{"cniVersion":"1.1.0","name":"shared","plugins":[{"type":"vmnet","subnet":"192.168.127.0/24"},{"type":"tuning"}]}`, 0o644)
	b.file("/run/netns/c1", "", 0o644)
	b.out[b.Root+"/opt/cni/bin/vmnet version"] = "vmnet v1\n"
	b.out[b.Root+"/opt/cni/bin/vmnet validate "+b.Root+"/etc/cni/net.d/10.conflist"] = "good"
	b.used = []doctor.Prefix{{netip.MustParsePrefix("10.0.0.0/24"), "eth0"}, {netip.MustParsePrefix("0.0.0.0/0"), "eth0"}}
	n := shim.Network{NetworkSpec: shim.NetworkSpec{Name: "shared", Driver: "netstack", Subnet: netip.MustParsePrefix("192.168.127.0/24")}}
	n.Mode = vmnet.Shared
	b.shim = doctor.Shim{
		Status:      shim.Status{Version: "v1"},
		Networks:    []shim.Network{n},
		Attachments: []shim.Attachment{{Network: "shared", ContainerID: "c1", IfName: "eth0", Driver: "netstack", Sandbox: "/run/netns/c1"}},
	}
	b.file("/run/vmnet/s/"+shim.Hash("shared", "c1", "eth0")+".d", "", 0o600)
	b.file("/proc/self/status", "Name:\tx\nCapEff:\t000001ffffffffff\n", 0o444)
	for name, v := range map[string]string{"net/ipv4/ip_forward": "1", "net/ipv6/conf/all/forwarding": "1", "net/unix/max_dgram_qlen": "512", "net/bridge/bridge-nf-call-iptables": "0"} {
		b.file("/proc/sys/"+name, v+"\n", 0o644)
	}
	b.out["nft -j list tables"] = `{"nftables": [{"metainfo": {"version": "1.0.6"}}, {"table": {"family": "ip", "name": "nat", "handle": 1}}]}`
	if goos == "darwin" {
		b.mac()
	}
	return b
}

// mac answers as macOS 26 does when all is well.
func (b *bed) mac() {
	b.MacOS = 26
	b.fail["xattr -p com.apple.quarantine "+b.Program] = ""
	b.out["codesign -d --entitlements - --xml "+b.Program] = `<?xml version="1.0"?><!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "https://www.apple.com/DTDs/PropertyList-1.0.dtd"><plist version="1.0"><dict><key>com.apple.security.virtualization</key><true/></dict></plist>`
	b.out[alf+"--getglobalstate"] = "Firewall is enabled. (State = 1)\n"
	b.out[alf+"--getblockall"] = "Firewall has block all state set to disabled.\n"
	b.out[alf+"--getallowsigned"] = "Automatically allow built-in signed software ENABLED.\nAutomatically allow downloaded signed software ENABLED.\n"
	b.out[alf+"--listapps"] = "Total number of apps = 1 \n1 : /usr/sbin/smbd \n             (Allow incoming connections) \n"
	b.out["profiles status -type enrollment"] = "Enrolled via DEP: No\nMDM enrollment: No\n"
	b.out["plutil -convert xml1 -o - "+nat] = fmt.Sprintf(natOf, 0)
	b.out["ifconfig -l"] = "lo0 gif0 en0 bridge100 vmenet0\n"
	b.out["route -n get default"] = "   route to: default\ndestination: default\n  interface: en0\n"
	b.shim.Networks[0].Driver, b.shim.Attachments[0].Driver = "vmnet", "vmnet"
	b.shim.Attachments[0].Peer.Connected = true
	b.shim.Attachments[0].IPs = []shim.IP{{Address: netip.MustParsePrefix("192.168.127.2/24")}}
	b.used = append(b.used, doctor.Prefix{Prefix: netip.MustParsePrefix("192.168.127.0/24"), Link: "bridge100"})
}

const (
	alf   = "/usr/libexec/ApplicationFirewall/socketfilterfw "
	nat   = "/Library/Preferences/SystemConfiguration/com.apple.nat.plist"
	natOf = `<?xml version="1.0" encoding="UTF-8"?><plist version="1.0"><dict><key>NAT</key><dict><key>AirPort</key><dict><key>40BitEncrypt</key><integer>1</integer></dict><key>Enabled</key><integer>%d</integer></dict></dict></plist>`
)

func (b *bed) run(ctx context.Context, name string, args ...string) (string, error) {
	line := strings.Join(append([]string{name}, args...), " ")
	if out, ok := b.fail[line]; ok {
		return out, exec.CommandContext(ctx, "false").Run() // an ExitError
	}
	if out, ok := b.out[line]; ok {
		return out, nil
	}
	return "", fmt.Errorf("%s: %w", line, exec.ErrNotFound)
}

func (b *bed) file(path, text string, mode fs.FileMode) {
	b.t.Helper()
	path = filepath.Join(b.Root, path)
	must(b.t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(b.t, os.WriteFile(path, []byte(text), 0o600))
	must(b.t, os.Chmod(path, mode))
}

func (b *bed) conf(text string) { b.file("/etc/cni/net.d/20.conflist", text, 0o644) }

// tap makes the network one of driver tap.
func (b *bed) tap() { b.shim.Networks[0].Driver = "tap" }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestHealthy(t *testing.T) {
	for _, goos := range []string{"linux", "darwin"} {
		b := healthy(t, goos)
		r := doctor.Examine(t.Context(), b.Machine)
		if len(r.Findings) > 0 || !r.Healthy {
			t.Errorf("%s: %+v", goos, r.Findings)
		}
		for _, c := range r.Checks {
			if c.State != "good" {
				t.Errorf("%s: %s is %s: %s", goos, c.Check, c.State, c.Reason)
			}
		}
		b.err = shim.ErrNotRunning // the plugin starts it
		must(t, os.RemoveAll(filepath.Join(b.Root, "/run/vmnet/s")))
		b.shim = doctor.Shim{}
		if r := doctor.Examine(t.Context(), b.Machine); len(r.Findings) > 0 {
			t.Errorf("%s without a shim: %+v", goos, r.Findings)
		}
	}
}

// faults are what each check is there for. level "" is Wrong.
var faults = []struct {
	name, os, check, level, what, mend string
	plant                              func(*bed)
}{
	{"no plugin", "linux", "programs", "", "vmnet is in none of /opt/cni/bin", "sudo vmnet-shim install", func(b *bed) { b.gone("/opt/cni/bin/vmnet") }},
	{"plugin not executable", "linux", "programs", "", "has mode 0644", "chmod 755", func(b *bed) { b.file("/opt/cni/bin/vmnet", "x", 0o644) }},
	{"plugin of another version", "linux", "programs", "", "is version v0, and this program v1", "vmnet-shim install --force", func(b *bed) { b.out[b.Root+"/opt/cni/bin/vmnet version"] = "vmnet v0\n" }},
	{"shim not to be found", "linux", "programs", "", "neither beside the plugin nor", "vmnet-shim install", func(b *bed) { b.gone("/usr/local/bin/vmnet-shim") }},
	{"shim.binary gone", "linux", "programs", "", "shim.binary /opt/x is not there", "take shim.binary out", func(b *bed) {
		b.conf(`{"name":"b","plugins":[{"type":"vmnet","shim":{"binary":"/opt/x"}}]}`)
	}},
	{"program of a user", "linux", "programs", "", "can be replaced by others than root", "sudo chown root", func(b *bed) { b.UID = 0; b.chmod("/usr/local/bin/vmnet-shim", 0o777) }},
	{"not signed", "darwin", "signature", "", "is not signed", "codesign -f -s -", func(b *bed) { b.UID = 501; b.fail["codesign -d --entitlements - --xml "+b.Program] = "" }},
	{"without entitlement", "darwin", "signature", "", "is signed without com.apple.security.virtualization", "codesign", func(b *bed) { b.UID = 501; b.out["codesign -d --entitlements - --xml "+b.Program] = "" }},
	{"quarantine", "darwin", "signature", "", "is in quarantine", "xattr -d", func(b *bed) {
		delete(b.fail, "xattr -p com.apple.quarantine "+b.Program)
		b.out["xattr -p com.apple.quarantine "+b.Program] = "0081;"
	}},
	{"under Documents", "darwin", "signature", "", "lies under ~/Documents", "install", func(b *bed) {
		b.Program = "/home/u/Documents/vmnet-shim"
		b.fail["xattr -p com.apple.quarantine "+b.Program] = ""
	}},
	{"driver vmnet as a user", "darwin", "privileges", "", "this user is not root", "sudo vmnet-shim install", func(b *bed) {
		b.UID, b.MacOS = 501, 15
		b.conf(`{"name":"b","plugins":[{"type":"vmnet","driver":"vmnet"}]}`)
	}},
	{"driver tap as a user", "linux", "privileges", "", "driver tap, and this user is not root", "--tap --group", func(b *bed) { b.UID = 1000; b.conf(`{"name":"b","plugins":[{"type":"vmnet","driver":"tap"}]}`) }},
	{"no capability", "linux", "privileges", "", "no CAP_NET_ADMIN", "--cap-add NET_ADMIN", func(b *bed) {
		b.UID = 0
		b.conf(`{"name":"b","plugins":[{"type":"vmnet","driver":"tap"}]}`)
		b.file("/proc/self/status", "CapEff:\t00000000a80425fb\n", 0o444)
	}},
	{"unit without capability", "linux", "privileges", "", "vmnet-shim.service has no capability", "install --tap", func(b *bed) { b.tap(); b.file("/etc/systemd/system/vmnet-shim.service", "", 0o644) }},
	{"directory open to all", "linux", "directories", "", "has mode 0777", "chmod go-w /run/vmnet", func(b *bed) { b.chmod("/run/vmnet", 0o777) }},
	{"directory is a link", "linux", "directories", "", "is not a directory", "rm /var/lib/vmnet", func(b *bed) {
		b.gone("/var/lib/vmnet")
		must(b.t, os.Symlink("/tmp", filepath.Join(b.Root, "/var/lib/vmnet")))
	}},
	{"directory of another user", "linux", "directories", "", "belongs to user", "sudo chown", func(b *bed) { b.UID = 4711; must(b.t, chown(b.Root+"/run/vmnet")) }},
	{"no room", "linux", "directories", "", "has 3 MiB free", "df -h", func(b *bed) { b.free = 3 << 20 }},
	{"shim of another version", "linux", "shim", "", "the running shim is version v0", "vmnet-shim upgrade", func(b *bed) { b.shim.Status.Version = "v0" }},
	{"problem of the shim", "linux", "shim", "", "a record was damaged", "see its log", func(b *bed) { b.shim.Status.Problems = []string{"a record was damaged"} }},
	{"broken attachment", "linux", "shim", "", "shared c1 eth0: no uplink", "restart the guest", func(b *bed) { b.shim.Attachments[0].Problem = "no uplink" }},
	{"shim hangs", "linux", "shim", "", "does not answer", "journalctl", func(b *bed) { b.err = context.DeadlineExceeded; b.shim = doctor.Shim{} }},
	{"socket for all", "linux", "shim", "", "shim.sock has mode 0666", "chmod o-w", func(b *bed) { b.file("/run/vmnet/shim.sock", "", 0o666) }},
	{"systemd's socket is off", "linux", "shim", "", "vmnet-shim.socket is inactive", "systemctl enable --now", func(b *bed) {
		b.UID, b.err, b.shim = 0, shim.ErrNotRunning, doctor.Shim{}
		b.file("/etc/systemd/system/vmnet-shim.socket", "", 0o644)
		b.fail["systemctl is-active vmnet-shim.socket"] = "inactive\n"
	}},
	{"shim dies again and again", "linux", "shim", "", "the keeper says: it died 10 times", "see", func(b *bed) {
		b.err, b.shim = shim.ErrNotRunning, doctor.Shim{}
		b.file("/run/vmnet/keeper.json", `{"problem":"it died 10 times","until":"2100-01-01T00:00:00Z"}`, 0o600)
	}},
	{"invalid configuration", "linux", "cni-config", "", `/etc/cni/net.d/10.conflist: mode "x": want`, "vmnet validate", func(b *bed) {
		line := b.Root + "/opt/cni/bin/vmnet validate " + b.Root + "/etc/cni/net.d/10.conflist"
		b.fail[line] = b.Root + `/etc/cni/net.d/10.conflist: mode "x": want host, shared or bridged` + "\n"
	}},
	{"one name twice", "linux", "cni-config", "", "both name the network shared", "rename", func(b *bed) { b.conf(`{"name":"shared","plugins":[{"type":"vmnet"}]}`) }},
	{"missing chained plugin", "linux", "cni-config", "", "plugin portmap is in none of", "containernetworking-plugins", func(b *bed) { b.conf(`{"name":"b","plugins":[{"type":"vmnet"},{"type":"portmap"}]}`) }},
	{"missing IPAM plugin", "linux", "cni-config", "", "IPAM plugin host-local is in none of", "install it", func(b *bed) { b.conf(`{"name":"b","plugins":[{"type":"vmnet","ipam":{"type":"host-local"}}]}`) }},
	{"configuration open to all", "linux", "cni-config", "", "can be written by everybody", "chmod o-w", func(b *bed) { b.chmod("/etc/cni/net.d/10.conflist", 0o666) }},
	{"VPN", "linux", "subnets", "", "overlaps 192.168.0.0/16 on tun0 (a VPN, by its name)", `"subnet": "`, func(b *bed) {
		b.used = append(b.used, doctor.Prefix{Prefix: netip.MustParsePrefix("192.168.0.0/16"), Link: "tun0"})
	}},
	{"two networks", "linux", "subnets", "", "of /etc/cni/net.d/20.conflist overlaps 192.168.127.0/24 of network shared", `"subnet": "192.168.128.0/24"`, func(b *bed) { b.conf(`{"name":"b","plugins":[{"type":"vmnet","subnet":"192.168.127.128/25"}]}`) }},
	{"LAN", "darwin", "subnets", "", "overlaps 192.168.127.0/24 on en0", `"subnet"`, func(b *bed) {
		b.used = append(b.used, doctor.Prefix{Prefix: netip.MustParsePrefix("192.168.127.0/24"), Link: "en0"})
	}},
	{"mixed offload", "darwin", "offload", "", "network shared mixes", "alike", func(b *bed) {
		a := b.shim.Attachments[0]
		a.ContainerID, a.Offload, a.Sandbox = "c2", true, ""
		b.shim.Attachments = append(b.shim.Attachments, a)
	}},
	{"no forwarding", "linux", "sysctls", "", "net.ipv4.ip_forward is 0", "sysctl -w net.ipv4.ip_forward=1", func(b *bed) { b.tap(); b.file("/proc/sys/net/ipv4/ip_forward", "0\n", 0o644) }},
	{"bridged frames and the firewall", "linux", "sysctls", doctor.Note, "bridge-nf-call-iptables is 1", "sysctl -w", func(b *bed) { b.tap(); b.file("/proc/sys/net/bridge/bridge-nf-call-iptables", "1\n", 0o644) }},
	{"short queues", "linux", "sysctls", doctor.Note, "max_dgram_qlen is 10", "sysctl -w net.unix.max_dgram_qlen=512", func(b *bed) { b.file("/proc/sys/net/unix/max_dgram_qlen", "10\n", 0o644) }},
	{"kvm denied", "linux", "devices", "", "/dev/kvm cannot be opened", "usermod -aG kvm", func(b *bed) { b.deny["/dev/kvm"] = &fs.PathError{Op: "open", Path: "/dev/kvm", Err: syscall.EACCES} }},
	{"no kvm", "linux", "devices", doctor.Note, "there is no /dev/kvm", "modprobe", func(b *bed) { b.deny["/dev/kvm"] = fs.ErrNotExist }},
	{"tun denied", "linux", "devices", "", "/dev/net/tun: ", "--device /dev/net/tun", func(b *bed) { b.tap(); b.deny["/dev/net/tun"] = &fs.PathError{Op: "open", Err: syscall.EACCES} }},
	{"bootpd blocked", "darwin", "firewall", doctor.Note, "blocks /usr/libexec/bootpd", "sudo /usr/libexec/ApplicationFirewall/socketfilterfw --add", func(b *bed) {
		b.out[alf+"--getallowsigned"] = "Automatically allow built-in signed software DISABLED.\n"
	}},
	{"bootpd blocked by name", "darwin", "firewall", doctor.Note, "blocks", "--unblock", func(b *bed) {
		b.out[alf+"--listapps"] = "Total number of apps = 1 \n1 : /usr/libexec/bootpd \n             (Block incoming connections) \n"
	}},
	{"all blocked", "darwin", "firewall", "", "blocks", `"ipam": {}`, func(b *bed) {
		b.out[alf+"--getblockall"] = "Firewall is set to block all non-essential incoming connections\n"
		b.conf(`{"name":"b","plugins":[{"type":"vmnet","ipam":{"type":"none"}}]}`)
	}},
	{"blocked on a managed Mac", "darwin", "firewall", doctor.Note, "blocks", "ask whoever manages this Mac", func(b *bed) {
		b.out[alf+"--getallowsigned"] = "Automatically allow built-in signed software DISABLED.\n"
		b.out["profiles status -type enrollment"] = "Enrolled via DEP: Yes\nMDM enrollment: Yes (User Approved)\n"
	}},
	{"Local Network", "darwin", "local-network", "", "no route to the guest c1 192.168.127.2", "Local Network", func(b *bed) { b.UID, b.dial = 501, fmt.Errorf("dial: %w", syscall.EHOSTUNREACH) }},
	{"Internet Sharing", "darwin", "internet-sharing", "", "Internet Sharing is on", "System Settings", func(b *bed) { b.out["plutil -convert xml1 -o - "+nat] = fmt.Sprintf(natOf, 1) }},
	{"all interfaces taken", "darwin", "interfaces", "", "32 interfaces of vmnet.framework are there", "end guests", func(b *bed) { b.out["ifconfig -l"] = strings.Repeat("vmenet1 ", 32) }},
	{"few interfaces left", "darwin", "interfaces", doctor.Note, "30 of 32", "ls", func(b *bed) { b.out["ifconfig -l"] = strings.Repeat("vmenet1 ", 30) }},
	{"default route by a VPN", "darwin", "vpn", doctor.Note, "the default route is by utun4", "start the guests again", func(b *bed) { b.out["route -n get default"] = "  interface: utun4\n" }},
	{"stale socket", "linux", "leftovers", doctor.Note, "1 sockets in /run/vmnet/s have no attachment", "rm", func(b *bed) { b.file("/run/vmnet/s/0123456789abcdef.d", "", 0o600) }},
	{"container gone", "linux", "leftovers", "", "its network namespace /run/netns/c1 is gone", "vmnet-shim gc", func(b *bed) { b.gone("/run/netns/c1") }},
	{"link left", "linux", "leftovers", "", "link vmb0123456789 (vmnet:01234567:old) is of network old", "ip link delete vmb0123456789", func(b *bed) { b.UID = 0; b.link = []doctor.Link{{Name: "vmb0123456789", Alias: "vmnet:01234567:old"}} }},
	{"table left", "linux", "leftovers", "", "table inet vmnet-01234567-vmb0123456789 of nftables", "nft delete table inet vmnet-01234567-vmb0123456789", func(b *bed) {
		b.UID = 0
		b.out["nft -j list tables"] = `{"nftables": [{"table": {"family": "inet", "name": "vmnet-01234567-vmb0123456789", "handle": 7}}]}`
	}},
}

func (b *bed) gone(path string) { must(b.t, os.RemoveAll(filepath.Join(b.Root, path))) }

func (b *bed) chmod(path string, mode fs.FileMode) {
	must(b.t, os.Chmod(filepath.Join(b.Root, path), mode))
}

// chown gives a path to another user, where this one may.
func chown(path string) error {
	if os.Getuid() != 0 {
		return nil
	}
	return os.Chown(path, 4712, -1)
}

func TestFaults(t *testing.T) {
	covered := map[string]bool{}
	for _, tt := range faults {
		covered[tt.check] = true
		t.Run(tt.name, func(t *testing.T) {
			b := healthy(t, tt.os)
			tt.plant(b)
			if tt.level == "" {
				tt.level = doctor.Wrong
			}
			r := doctor.Examine(t.Context(), b.Machine)
			for _, f := range r.Findings {
				if f.Check == tt.check && f.Level == tt.level && strings.Contains(f.What, tt.what) && strings.Contains(f.Mend, tt.mend) {
					if r.Healthy != (tt.level == doctor.Note) && tt.level == doctor.Wrong {
						t.Errorf("healthy is %v", r.Healthy)
					}
					return
				}
			}
			t.Errorf("not found among %+v", r.Findings)
		})
	}
	for _, goos := range []string{"linux", "darwin"} {
		for _, c := range doctor.Examine(t.Context(), healthy(t, goos).Machine).Checks {
			if !covered[c.Check] {
				t.Errorf("no fault is planted for %s", c.Check)
			}
		}
	}
}

func TestPrint(t *testing.T) {
	r := doctor.Report{
		Checks:   []doctor.Result{{Check: "a", State: "wrong"}, {Check: "b", State: "skipped", Reason: "no nft"}},
		Findings: []doctor.Finding{{Check: "a", Level: doctor.Wrong, What: "w", Why: "y", Mend: "m"}},
	}
	const plain = "wrong  a: w\n  why   y\n  mend  m\n\nskipped  b: no nft\n2 checks: 1 wrong, 0 to note\n"
	for _, tt := range []struct {
		plain bool
		want  string
	}{{true, plain}, {false, "\x1b[31mwrong\x1b[0m" + plain[len("wrong"):]}} {
		var b strings.Builder
		must(t, r.Print(&b, tt.plain))
		if b.String() != tt.want {
			t.Errorf("plain %v: %q", tt.plain, b.String())
		}
	}
	for _, tt := range []struct {
		terminal bool
		env      string
		want     bool
	}{{false, "", true}, {true, "", false}, {true, "NO_COLOR", true}} {
		if got := doctor.Plain(tt.terminal, func(k string) string { return map[string]string{tt.env: "1"}[k] }); got != tt.want {
			t.Errorf("%v %q: %v", tt.terminal, tt.env, got)
		}
	}
}

// TestHere examines the real machine: it must end, and find no shim in directories
// of the test.
func TestHere(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("VMNET_RUNTIME_DIR", dir+"/r")
	t.Setenv("VMNET_STATE_DIR", dir+"/s")
	m, err := doctor.Here("v1", 0)
	must(t, err)
	if _, err := m.Shim(t.Context()); !errors.Is(err, shim.ErrNotRunning) {
		t.Errorf("error %v", err)
	}
	if r := doctor.Examine(t.Context(), m); len(r.Checks) < 8 {
		t.Errorf("%d checks", len(r.Checks))
	}
	if _, err := os.Stat(dir + "/r"); err == nil {
		t.Error("it made a directory")
	}
}
