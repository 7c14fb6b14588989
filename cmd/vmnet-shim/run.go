package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// detachTime bounds deleting the attachment when the program has ended.
const detachTime = 10 * time.Second

// runFlags are the flags of "run".
type runFlags struct {
	id, ifname string
	subnet, ip string
	noSpawn    bool
	req        shim.AttachRequest
}

func newRun() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run [flags] -- CMD [ARG…]",
		Short: "Run a program with a frame fd as fd 3",
		Long: `Run a program with a network interface: make an attachment, start CMD with the
frame fd as fd 3, forward signals to it, delete the attachment when CMD ends, and
end with its exit status (128 and the signal's number when a signal ended it).
The shim is started when none is running.

CMD finds in its environment:
  VMNET_FD              3
  VMNET_KIND            dgram, stream (4-byte big-endian length before a frame) or tap
  VMNET_MAC             the address that the guest must use
  VMNET_MTU             bytes of an IP packet
  VMNET_MAX_FRAME_SIZE  bytes of a frame
  VMNET_IP              the guest's address with its length; DHCP gives it too
  VMNET_GATEWAY         the default router
  VMNET_IP6, VMNET_GATEWAY6  the same for IPv6
  VMNET_DNS             name servers, separated by commas
  VMNET_NETWORK, VMNET_CONTAINER_ID, VMNET_IFNAME   the attachment`,
		Example: `  vmnet-shim run -- sh -c 'qemu-system-x86_64 -nic dgram,local.type=fd,local.str=3,mac=$VMNET_MAC …'`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("run: want a program, as in: vmnet-shim run -- CMD")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	fl := cmd.Flags()
	fl.SetInterspersed(false) // what follows CMD is CMD's
	fl.StringVar(&f.req.Network.Name, "network", "shared", "name of the network")
	fl.TextVar(&f.req.Network.Mode, "mode", vmnet.Shared, "`mode`: shared, host or bridged")
	fl.StringVar(&f.req.Network.Driver, "driver", shim.DriverAuto, "driver: auto, vmnet, netstack or tap")
	fl.StringVar(&f.subnet, "subnet", "", "IPv4 subnet (default chosen)")
	fl.StringVar(&f.req.Network.Uplink, "uplink", "", "`interface` for mode bridged")
	fl.IntVar(&f.req.Network.MTU, "mtu", 0, "MTU in bytes (default 1500)")
	fl.BoolVar(&f.req.Network.Isolated, "isolated", false, "keep the guests of the network from each other")
	fl.BoolVar(&f.req.Network.Offload, "offload", false, "frames of up to 64 KiB with open checksums; CMD's guest must know them")
	fl.BoolVar(&f.req.Network.HostLoopback, "host-loopback", false, "let guests reach the host's loopback at the subnet's last address")
	fl.StringVar(&f.req.Frames, "frames", shim.FramesDgram, "kind of the frame fd: dgram, stream or, with driver tap, tap")
	fl.StringVar(&f.req.MAC, "mac", "", "MAC (default made from network, id and ifname)")
	fl.StringVar(&f.ip, "ip", "", "IPv4 address (default any)")
	fl.StringVar(&f.req.Hostname, "hostname", "", "host name that DHCP gives")
	fl.StringVar(&f.id, "id", "", "container ID (default a new one)")
	fl.StringVar(&f.ifname, "ifname", "eth0", "interface name")
	fl.BoolVar(&f.noSpawn, "no-spawn", false, "do not start a shim")
	return cmd
}

func (f *runFlags) run(cmd *cobra.Command, args []string) error {
	path, err := exec.LookPath(args[0])
	if err != nil {
		return fmt.Errorf("run: %w", err)
	}
	if err := f.complete(); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	line := waiting(cmd, nil, "waiting for the shim")
	defer line.Stop()
	c, err := shim.Ensure(ctx, shim.EnsureConfig{Binary: self, Spawn: !f.noSpawn})
	if err != nil {
		return err
	}
	defer c.Close()
	signals := catchSignals() // from here on none may end us before the attachment is deleted
	defer signals.stop()
	line.Say("attaching to network " + f.req.Network.Name)
	a, err := c.Attach(ctx, f.req.Network.Name, f.id, f.ifname, f.req)
	if err != nil {
		return err
	}
	line.Stop() // the terminal is the program's now
	status, err := f.start(ctx, c, a, path, args, signals)
	defer waiting(cmd, nil, "detaching").Stop()
	dctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), detachTime)
	defer cancel()
	if err := errors.Join(err, c.Detach(dctx, a.Network, a.ContainerID, a.IfName)); err != nil {
		return err
	}
	if status != 0 {
		return exitStatus(status)
	}
	return nil
}

// complete fills in what flags give as text or leave open.
func (f *runFlags) complete() error {
	if f.subnet != "" {
		p, err := netip.ParsePrefix(f.subnet)
		if err != nil {
			return fmt.Errorf("--subnet %q: want a prefix, as 192.168.127.0/24", f.subnet)
		}
		f.req.Network.Subnet = p
	}
	if f.ip != "" {
		f.req.IPs = []string{f.ip}
	}
	f.req.RequestID = rand.Text()
	if f.id == "" {
		f.id = "run-" + strings.ToLower(rand.Text()[:12])
	}
	return nil
}

// start runs the program and returns its exit status.
func (f *runFlags) start(ctx context.Context, c *shim.Client, a shim.Attachment, path string, args []string, signals *signalCatcher) (int, error) {
	_, frames, err := c.Frames(ctx, a.Network, a.ContainerID, a.IfName)
	if err != nil {
		return 0, err
	}
	return runChild(path, args, environment(a), []*os.File{frames}, func() { _ = frames.Close() }, signals)
}

// runChild runs the program path with files as its descriptors from 3 on, and
// returns its exit status, 128 and the signal's number when a signal ended it. It
// calls started when the program has copies of the files.
func runChild(path string, args, env []string, files []*os.File, started func(), signals *signalCatcher) (int, error) {
	child := &exec.Cmd{
		Path: path, Args: args, Env: append(os.Environ(), env...),
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, ExtraFiles: files,
	}
	err := child.Start()
	started() // the child's copies are the only ones now
	if err != nil {
		return 0, fmt.Errorf("run: %w", err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = child.Wait() // ProcessState tells more
	}()
	signals.forward(child.Process, done)
	if child.ProcessState == nil {
		return 0, errors.New("run: the program's end was not seen")
	}
	ws, ok := child.ProcessState.Sys().(syscall.WaitStatus)
	if ok && ws.Signaled() {
		return 128 + int(ws.Signal()), nil
	}
	return child.ProcessState.ExitCode(), nil
}

// environment tells the program what its frame fd is.
func environment(a shim.Attachment) []string {
	env := []string{
		"VMNET_FD=3", "VMNET_KIND=" + a.Frames, "VMNET_MAC=" + a.MAC, "VMNET_MTU=" + strconv.Itoa(a.MTU),
		"VMNET_MAX_FRAME_SIZE=" + strconv.Itoa(a.MaxFrameSize), "VMNET_DNS=" + strings.Join(a.DNS.Nameservers, ","),
		"VMNET_NETWORK=" + a.Network, "VMNET_CONTAINER_ID=" + a.ContainerID, "VMNET_IFNAME=" + a.IfName,
	}
	values := map[string]string{"VMNET_IP": "", "VMNET_GATEWAY": "", "VMNET_IP6": "", "VMNET_GATEWAY6": ""}
	for _, ip := range a.IPs {
		version := ""
		if ip.Address.Addr().Is6() {
			version = "6"
		}
		values["VMNET_IP"+version] = ip.Address.String()
		if ip.Gateway.IsValid() {
			values["VMNET_GATEWAY"+version] = ip.Gateway.String()
		}
	}
	for name, value := range values {
		env = append(env, name+"="+value)
	}
	return env
}

// A signalCatcher keeps signals for the program.
type signalCatcher struct{ ch chan os.Signal }

func catchSignals() *signalCatcher {
	c := &signalCatcher{make(chan os.Signal, 16)}
	signal.Notify(c.ch, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2)
	return c
}

func (c *signalCatcher) stop() { signal.Stop(c.ch) }

// forward sends the signals that come to p until it has ended. What the
// terminal sent, it has sent to p as well.
func (c *signalCatcher) forward(p *os.Process, done <-chan struct{}) {
	for {
		select {
		case sig := <-c.ch:
			if (sig == syscall.SIGINT || sig == syscall.SIGQUIT) && inForeground() {
				continue
			}
			_ = p.Signal(sig) // fails only when it has ended just now
		case <-done:
			return
		}
	}
}
