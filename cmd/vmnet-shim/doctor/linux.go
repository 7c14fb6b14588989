package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// minQueue is a queue of datagram sockets that holds a batch of the relay.
const minQueue = 64

// sysctl reads a number from /proc/sys; ok is false where it cannot be read.
func (p *patient) sysctl(name string) (value int, ok bool) {
	data, err := os.ReadFile(p.at("/proc/sys/" + strings.ReplaceAll(name, ".", "/")))
	if err != nil {
		return 0, false
	}
	value, err = strconv.Atoi(strings.TrimSpace(string(data)))
	return value, err == nil
}

func sysctls(_ context.Context, p *patient) ([]Finding, error) {
	var f findings
	p.forwarding(&f)
	if v, ok := p.sysctl("net.bridge.bridge-nf-call-iptables"); ok && v != 0 && p.wants("tap") {
		f.note("net.bridge.bridge-nf-call-iptables is 1", "the firewall's FORWARD rules see frames between guests of one bridge; with Docker's policy DROP guests do not reach each other",
			"sudo sysctl -w net.bridge.bridge-nf-call-iptables=0")
	}
	if v, ok := p.sysctl("net.unix.max_dgram_qlen"); ok && v < minQueue {
		f.note(fmt.Sprintf("net.unix.max_dgram_qlen is %d", v), "guests that bind a datagram socket of their own get that many frames at a time; throughput suffers",
			"sudo sysctl -w net.unix.max_dgram_qlen=512")
	}
	return f, nil
}

// forwarding looks at what driver tap switches on when a shared network opens, and
// others switch off.
func (p *patient) forwarding(f *findings) {
	for _, n := range p.shim.Networks {
		if n.Driver != "tap" || n.Mode != vmnet.Shared {
			continue
		}
		for name, wanted := range map[string]bool{"net.ipv4.ip_forward": n.Subnet.IsValid(), "net.ipv6.conf.all.forwarding": n.Subnet6.IsValid()} {
			if v, ok := p.sysctl(name); ok && v == 0 && wanted {
				f.wrong(fmt.Sprintf("%s is 0, and network %s is shared", name, n.Name), "guests do not get out: the kernel forwards nothing", "sudo sysctl -w "+name+"=1")
			}
		}
	}
}

func devices(_ context.Context, p *patient) ([]Finding, error) {
	var f findings
	err := p.Open(p.at("/dev/kvm"))
	switch {
	case errors.Is(err, fs.ErrPermission):
		f.wrong("/dev/kvm cannot be opened by this user", "QEMU emulates the guest's processor, many times slower", "sudo usermod -aG kvm $USER, and log in again")
	case errors.Is(err, fs.ErrNotExist):
		f.note("there is no /dev/kvm", "QEMU emulates the guest's processor, many times slower", "sudo modprobe kvm_intel || sudo modprobe kvm_amd; else switch virtualization on in the firmware or in the hypervisor above")
	}
	if !p.wants("tap") {
		return f, nil
	}
	if err := p.Open(p.at("/dev/net/tun")); errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
		f.wrong(fmt.Sprintf("/dev/net/tun: %v", cause(err)), "driver tap is configured, and makes its interfaces there", "sudo modprobe tun; in a container: --device /dev/net/tun --cap-add NET_ADMIN")
	}
	return f, nil
}

// cause is an error without the path before it.
func cause(err error) error {
	if inner := errors.Unwrap(err); inner != nil {
		return inner
	}
	return err
}
