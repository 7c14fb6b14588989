package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The demo runs three times: as it was started; in new namespaces, where it has
// the right to arrange them; and there again, without that right.
//
//	started ──clone──► stage "arrange" ──exec──► stage "inside"
const (
	stageEnv     = "VMNET_DEMO_STAGE"
	stageArrange = "arrange"
	stageInside  = "inside"
	// statusArrange says that the namespaces could not be arranged; why is
	// written to reportFD.
	statusArrange = 75 // EX_TEMPFAIL of sysexits.h
	reportFD      = 3
)

// outsideAddr is from a block that is kept for documentation (RFC 5737).
var outsideAddr = netip.MustParseAddr("198.51.100.1")

// enter returns the world of the demo. done means that the demo has run, in
// another process, and ended with status.
func enter(o options, args []string) (w *world, status int, done bool) {
	switch os.Getenv(stageEnv) {
	case stageArrange:
		err := arrange(args)
		report := os.NewFile(reportFD, "report")
		fmt.Fprint(report, err)
		return nil, statusArrange, true
	case stageInside:
		w, err := inside()
		if err != nil {
			fmt.Fprintln(os.Stderr, "demo:", err)
			return nil, 1, true
		}
		return w, 0, false
	}
	if o.host {
		return hostWorld("-host says so"), 0, false
	}
	status, err := outer(args)
	if err != nil {
		return hostWorld("namespaces are not to be had: " + err.Error()), 0, false
	}
	return nil, status, true
}

// outer runs the demo in new namespaces and returns its exit status, or an error
// when it could not begin.
func outer(args []string) (status int, err error) {
	const private = unix.CLONE_NEWNET | unix.CLONE_NEWNS
	ways := []uintptr{private | unix.CLONE_NEWUSER}
	if os.Geteuid() == 0 {
		ways = []uintptr{private, private | unix.CLONE_NEWUSER} // root in a container may need the second
	}
	for _, flags := range ways {
		if status, err = outerWith(flags, args); err == nil {
			return status, nil
		}
	}
	return 0, err
}

func outerWith(flags uintptr, args []string) (status int, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer r.Close()
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), stageEnv+"="+stageArrange)
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = os.Stdin, os.Stdout, os.Stderr, []*os.File{w}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
	if flags&unix.CLONE_NEWUSER != 0 {
		// The user stays who he is; the rights over the new namespaces come as
		// ambient capabilities (capabilities(7)), which go again with stage "inside".
		uid, gid := os.Geteuid(), os.Getegid()
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}}
		cmd.SysProcAttr.AmbientCaps = []uintptr{unix.CAP_NET_ADMIN, unix.CAP_SYS_ADMIN, unix.CAP_NET_BIND_SERVICE}
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(signals)
	err = cmd.Start()
	w.Close()
	if err != nil {
		return 0, err
	}
	ended := make(chan struct{})
	go forward(signals, cmd.Process, ended)
	why, _ := io.ReadAll(r) // ends when stage "inside" begins, or with the report
	_ = cmd.Wait()          // its status is asked for below
	close(ended)
	if status = cmd.ProcessState.ExitCode(); status == statusArrange {
		return 0, errors.New(string(why))
	}
	if status < 0 {
		return 1, nil // ended by a signal
	}
	return status, nil
}

// forward passes SIGTERM on; what comes from the terminal has come to p as well.
func forward(signals <-chan os.Signal, p *os.Process, ended <-chan struct{}) {
	for {
		select {
		case s := <-signals:
			if s == syscall.SIGTERM {
				_ = p.Signal(s) // it may have ended just now
			}
		case <-ended:
			return
		}
	}
}

// arrange makes the new namespaces the demo's world, and goes on as stage
// "inside". It returns only if that went wrong.
func arrange(args []string) error {
	unix.CloseOnExec(reportFD)
	// Capabilities belong to a thread; the one that executes must be the one that
	// gave them up.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := arrangeNet(); err != nil {
		return err
	}
	if err := arrangeResolver(); err != nil {
		return err
	}
	fds, err := openServers()
	if err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("give up capabilities: %w", err)
	}
	env := []string{stageEnv + "=" + stageInside, fdsEnv + "=" + fds}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, stageEnv+"=") {
			env = append(env, v)
		}
	}
	return unix.Exec("/proc/self/exe", append([]string{"demo"}, args...), env)
}

// arrangeNet brings loopback up and gives it the address of the outside.
func arrangeNet() error {
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err == nil {
		err = netlink.AddrAdd(lo, &netlink.Addr{IPNet: &net.IPNet{IP: outsideAddr.AsSlice(), Mask: net.CIDRMask(32, 32)}})
	}
	if err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	return nil
}

// arrangeResolver has /etc/resolv.conf name the outside's DNS server, in this
// mount namespace alone.
func arrangeResolver() error {
	const path = "/etc/resolv.conf"
	f, err := os.CreateTemp("", "vmnet-demo-resolv-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // the mount keeps the file
	_, err = fmt.Fprintf(f, "nameserver %s\n", outsideAddr)
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("mount: make private: %w", err)
	}
	if err := unix.Mount(f.Name(), path, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount %s: %w", path, err)
	}
	return nil
}

// fdsEnv lists the descriptors that stage "inside" finds: the HTTP server's
// listener, the DNS server's socket and listener.
const fdsEnv = "VMNET_DEMO_FDS"

// openServers opens the sockets of the outside, on ports that stage "inside" has
// no right to, and lets them be inherited.
func openServers() (fds string, err error) {
	var numbers []string
	for _, s := range []struct {
		kind int
		port int
	}{{unix.SOCK_STREAM, 80}, {unix.SOCK_DGRAM, 53}, {unix.SOCK_STREAM, 53}} {
		fd, err := unix.Socket(unix.AF_INET, s.kind, 0)
		if err != nil {
			return "", os.NewSyscallError("socket", err)
		}
		if err := unix.Bind(fd, &unix.SockaddrInet4{Port: s.port, Addr: outsideAddr.As4()}); err != nil {
			return "", fmt.Errorf("bind %s port %d: %w", outsideAddr, s.port, err)
		}
		if s.kind == unix.SOCK_STREAM {
			if err := unix.Listen(fd, 64); err != nil {
				return "", os.NewSyscallError("listen", err)
			}
		}
		numbers = append(numbers, strconv.Itoa(fd))
	}
	return strings.Join(numbers, ","), nil
}

// inside starts the servers of the outside on what openServers left.
func inside() (*world, error) {
	var files []*os.File
	for text := range strings.SplitSeq(os.Getenv(fdsEnv), ",") {
		fd, err := strconv.Atoi(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", fdsEnv, err)
		}
		unix.CloseOnExec(fd)
		f := os.NewFile(uintptr(fd), "outside")
		defer f.Close() // package net makes duplicates
		files = append(files, f)
	}
	for _, name := range []string{stageEnv, fdsEnv} {
		os.Unsetenv(name)
	}
	if len(files) != 3 {
		return nil, fmt.Errorf("%s: %d descriptors, want 3", fdsEnv, len(files))
	}
	page, err1 := net.FileListener(files[0])
	pc, err2 := net.FilePacketConn(files[1])
	l, err3 := net.FileListener(files[2])
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	w := &world{
		addr:  outsideAddr,
		about: fmt.Sprintf("namespaces of its own: a server on %s is the outside, nothing leaves this machine", outsideAddr),
	}
	w.serveHTTP(page, outsideName)
	w.serveDNS(pc, l)
	return w, nil
}
