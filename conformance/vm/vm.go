package vm

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Config says what guest to run. Exactly one of Frame, Tap, StreamPath, Launcher and
// Script is set.
type Config struct {
	// Frame is the guest's end of a datagram socket. Start gives QEMU a copy; the
	// caller closes its own when Start has returned, so that nobody else holds it.
	Frame *os.File
	// Tap is the descriptor of a tap interface, the caller's as Frame is.
	Tap *os.File
	// StreamPath is the socket on which frames come with their length before them.
	StreamPath string
	// Reconnect has QEMU connect to StreamPath again when the connection ends, if it
	// can (8.0).
	Reconnect bool
	// Launcher is a program with arguments that runs QEMU, with a stream socket as
	// fd 3.
	Launcher []string
	// Script is a program with arguments that gets QEMU's arguments, all but those
	// about a network card, and runs QEMU with a card of its own choice.
	Script []string
	// Env is added to the environment of QEMU, or of Launcher or Script.
	Env []string
	// MAC is the address of the guest's network card; not with Script.
	MAC net.HardwareAddr
	// MTU in bytes is offered to the guest's driver. Zero: not told.
	MTU int
	// NoDHCP leaves the network card up without an address.
	NoDHCP bool
	// Steps are done in order once the guest has its address.
	Steps []Step
	// Programs are put into the guest's /bin, under the names that they have on the
	// host. They need no dynamic linker.
	Programs []string
	// Log gets the console as it comes. Nil: nobody.
	Log io.Writer
	// Lifetime is when the guest powers off whatever it does. Zero: 5 minutes.
	Lifetime time.Duration
	// Memory in MiB. Zero: 256.
	Memory int
	// QEMU, Busybox and Kernel are those to use. Zero: FindQEMU, FindBusybox and
	// FindKernel look.
	QEMU, Busybox string
	Kernel        Kernel
}

// maxLines is how many lines of the console are kept for a slow reader; then the
// guest waits.
const maxLines = 1024

// A VM is a guest that was started. Its methods may be called from several
// goroutines.
type VM struct {
	cmd    *exec.Cmd
	initrd string
	lines  chan string
	stop   chan struct{} // closed by Close: nobody reads lines any more
	done   chan struct{} // closed when QEMU has exited and its output was read
	err    error         // why QEMU exited; set before done is closed

	closeOnce sync.Once
}

// Start starts a guest. ctx limits the life of the guest: when it is done, QEMU
// is killed. The caller calls Close.
func Start(ctx context.Context, cfg Config) (*VM, error) {
	if err := cfg.complete(); err != nil {
		return nil, fmt.Errorf("start guest: %w", err)
	}
	initrd, err := cfg.initramfs()
	if err != nil {
		return nil, fmt.Errorf("start guest: initramfs: %w", err)
	}
	args := cfg.command(initrd)
	v := &VM{
		cmd:    exec.CommandContext(ctx, args[0], args[1:]...),
		initrd: initrd,
		lines:  make(chan string, maxLines),
		stop:   make(chan struct{}),
		done:   make(chan struct{}),
	}
	if len(cfg.Env) > 0 {
		v.cmd.Env = append(os.Environ(), cfg.Env...)
	}
	for _, f := range []*os.File{cfg.Frame, cfg.Tap} {
		if f != nil {
			v.cmd.ExtraFiles = []*os.File{f} // becomes fd 3
		}
	}
	v.cmd.WaitDelay = 5 * time.Second
	console, err := v.cmd.StdoutPipe()
	if err == nil {
		v.cmd.Stderr = v.cmd.Stdout
		err = v.cmd.Start()
	}
	if err != nil {
		os.Remove(initrd)
		return nil, fmt.Errorf("start guest: %w", err)
	}
	go v.read(console, cfg.Log)
	return v, nil
}

// complete fills in the defaults.
func (cfg *Config) complete() (err error) {
	ways := 0
	for _, set := range []bool{cfg.Frame != nil, cfg.Tap != nil, cfg.StreamPath != "", len(cfg.Launcher) > 0, len(cfg.Script) > 0} {
		if set {
			ways++
		}
	}
	if ways != 1 {
		return errors.New("want one of Frame, Tap, StreamPath, Launcher and Script")
	}
	if len(cfg.MAC) != 6 && len(cfg.Script) == 0 {
		return fmt.Errorf("mac %q: want 6 bytes", cfg.MAC)
	}
	if strings.Contains(cfg.StreamPath, ",") {
		return fmt.Errorf("stream path %q: QEMU takes none with a comma", cfg.StreamPath)
	}
	if cfg.Lifetime == 0 {
		cfg.Lifetime = 5 * time.Minute
	}
	if cfg.Memory == 0 {
		cfg.Memory = 256
	}
	if cfg.QEMU == "" {
		cfg.QEMU, err = FindQEMU()
	}
	if err == nil && cfg.Busybox == "" {
		cfg.Busybox, err = FindBusybox()
	}
	if err == nil && cfg.Kernel == (Kernel{}) {
		cfg.Kernel, err = FindKernel()
	}
	return err
}

// initramfs writes the guest's file system to a temporary file.
func (cfg *Config) initramfs() (path string, err error) {
	modules, err := loadOrder(cfg.Kernel)
	if err != nil {
		return "", err
	}
	f, err := os.CreateTemp("", "vmnet-initramfs-")
	if err != nil {
		return "", err
	}
	w := bufio.NewWriter(f)
	err = image{
		busybox: cfg.Busybox, modules: modules, steps: cfg.Steps, programs: cfg.Programs, dhcp: !cfg.NoDHCP, lifetime: cfg.Lifetime,
	}.write(w)
	if err = errors.Join(err, w.Flush(), f.Close()); err != nil {
		os.Remove(f.Name())
		return "", err
	}
	return f.Name(), nil
}

// kernelArgs are the kernel's. no_timer_check: its look at the timer counts interrupts
// for a moment of the host's time, in which an emulated processor may not have run,
// and then it gives up ("IO-APIC + timer doesn't work"); under KVM it does not look.
const kernelArgs = "console=ttyS0 quiet loglevel=2 panic=-1 mitigations=off nokaslr tsc=reliable no_timer_check"

// command returns the program to start with its arguments (qemu(1)).
func (cfg *Config) command(initrd string) []string {
	args := []string{
		"-accel", "tcg", "-machine", "q35", "-cpu", "qemu64", "-smp", "1", "-m", strconv.Itoa(cfg.Memory),
		"-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-monitor", "none", "-serial", "stdio",
		"-kernel", cfg.Kernel.Image, "-initrd", initrd,
		"-append", kernelArgs,
	}
	if len(cfg.Script) > 0 {
		return append(slices.Clone(cfg.Script), args...)
	}
	return slices.Concat(cfg.Launcher, []string{cfg.QEMU}, args, cfg.card())
}

// card returns QEMU's arguments about the network card.
func (cfg *Config) card() []string {
	netdev := "dgram,id=net0,local.type=fd,local.str=3"
	switch {
	case cfg.Tap != nil:
		netdev = "tap,id=net0,fd=3,vhost=off"
	case len(cfg.Launcher) > 0:
		netdev = "socket,id=net0,fd=3"
	case cfg.StreamPath != "":
		netdev = "stream,id=net0,server=off,addr.type=unix,addr.path=" + cfg.StreamPath
		if cfg.Reconnect {
			netdev += reconnect(cfg.QEMU)
		}
	}
	card := "virtio-net-pci,netdev=net0,romfile=,mac=" + cfg.MAC.String()
	if cfg.MTU != 0 {
		card += ",host_mtu=" + strconv.Itoa(cfg.MTU)
	}
	return []string{"-netdev", netdev, "-device", card}
}

// Reconnects reports whether the QEMU that FindQEMU finds connects again: 8.0 and newer.
func Reconnects() bool {
	qemu, err := FindQEMU()
	return err == nil && reconnect(qemu) != ""
}

// reconnect returns the option by which this QEMU connects again: older ones than
// 8.0 cannot, and 9.2 brought another name.
func reconnect(qemu string) string {
	out, err := exec.Command(qemu, "--version").Output()
	var major, minor int
	if err == nil {
		_, err = fmt.Sscanf(string(out), "QEMU emulator version %d.%d", &major, &minor)
	}
	switch {
	case err != nil || major < 8:
		return ""
	case major > 9 || major == 9 && minor >= 2:
		return ",reconnect-ms=500"
	}
	return ",reconnect=1"
}

// read passes the console on, line by line, until QEMU has exited.
func (v *VM) read(console io.Reader, log io.Writer) {
	defer close(v.done)
	defer close(v.lines)
	r := bufio.NewReaderSize(console, 4096)
	for {
		line, err := r.ReadString('\n')
		if line != "" {
			if log != nil {
				_, _ = io.WriteString(log, line) // a log that fails does not stop the guest
			}
			select {
			case v.lines <- strings.TrimRight(line, "\r\n"):
			case <-v.stop:
			}
		}
		if err != nil {
			break
		}
	}
	v.err = v.cmd.Wait()
}

// Lines returns the console, line by line. It is closed when QEMU has exited. At
// most 1024 lines wait to be read; then the guest waits.
func (v *VM) Lines() <-chan string { return v.lines }

// Mark begins every line that the guest's own scripts print.
const Mark = "VMNET "

// Await reads lines until one begins with Mark and what, and returns the rest of
// it. Lines before it are dropped. A "fault" of the guest ends it with an error,
// and so does its exit, ctx, or "done".
func (v *VM) Await(ctx context.Context, what string) (string, error) {
	var last []string
	for {
		select {
		case line, ok := <-v.lines:
			if !ok {
				return "", fmt.Errorf("wait for %q: guest has ended%s", what, tail(last))
			}
			text, marked := strings.CutPrefix(line, Mark)
			if rest, ok := strings.CutPrefix(text+" ", what+" "); marked && ok {
				return strings.TrimSpace(rest), nil
			}
			last = append(last, line)
			for _, end := range []string{"fault", "expired", "done"} {
				if marked && strings.HasPrefix(text, end) {
					return "", fmt.Errorf("wait for %q: guest says %q%s", what, text, tail(last))
				}
			}
		case <-ctx.Done():
			return "", fmt.Errorf("wait for %q: %w%s", what, ctx.Err(), tail(last))
		}
	}
}

// tail formats the last lines of the console for an error.
func tail(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return "; the console's last lines:\n\t" + strings.Join(lines[max(0, len(lines)-15):], "\n\t")
}

// Wait waits until QEMU has exited, and returns why.
func (v *VM) Wait(ctx context.Context) error {
	select {
	case <-v.done:
		return v.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// PID returns the process of QEMU.
func (v *VM) PID() int { return v.cmd.Process.Pid }

// Close kills QEMU if it still runs, waits for it, and removes what Start made.
// It is idempotent.
func (v *VM) Close() error {
	v.closeOnce.Do(func() {
		close(v.stop)
		select {
		case <-v.done:
		default:
			_ = v.cmd.Process.Kill() // an error says that it has exited
		}
		<-v.done
		os.Remove(v.initrd)
	})
	return nil
}
