package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/packaging"
	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// A manager does for the shim what systemd does with our units: it listens, it is
// told by sd_notify(3), it keeps descriptors by name (FileDescriptorStoreMax=), and it
// hands the listener first and then all of them to the next process
// (sd_listen_fds_with_names(3)).
type manager struct {
	w        *world
	listener *os.File
	notify   *net.UnixConn
	main     *exec.Cmd
	wg       sync.WaitGroup

	mu      sync.Mutex
	store   []kept
	told    map[string]bool // states, of the process that runs
	foreign []string        // messages of others than the main process: NotifyAccess=main
}

type kept struct {
	name string
	file *os.File
}

func newManager(t *testing.T) *manager {
	m := &manager{w: newWorld(t)}
	if err := m.w.dirs.Prepare(); err != nil {
		t.Fatal(err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: m.w.dirs.ShimSocket(), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if m.listener, err = l.File(); err == nil {
		err = l.Close()
	}
	if err == nil {
		m.notify, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(filepath.Dir(m.w.dirs.Runtime), "notify"), Net: "unixgram"})
	}
	if err != nil {
		t.Fatal(err)
	}
	raw, err := m.notify.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1) })
	}
	if err != nil {
		t.Fatal(err)
	}
	m.wg.Go(m.hear)
	t.Cleanup(func() {
		if m.main != nil {
			_ = m.main.Process.Kill()
			_ = m.main.Wait()
		}
		m.notify.Close()
		m.listener.Close()
		m.wg.Wait()
		for _, k := range m.store {
			k.file.Close()
		}
	})
	return m
}

func (m *manager) hear() {
	buf, oob := make([]byte, 4096), make([]byte, 1024)
	for {
		n, on, _, _, err := m.notify.ReadMsgUnix(buf, oob)
		if err != nil {
			return
		}
		var files []*os.File
		var pid int32
		msgs, _ := unix.ParseSocketControlMessage(oob[:on])
		for i := range msgs {
			if c, err := unix.ParseUnixCredentials(&msgs[i]); err == nil {
				pid = c.Pid
			}
			fds, _ := unix.ParseUnixRights(&msgs[i])
			for _, fd := range fds {
				files = append(files, os.NewFile(uintptr(fd), "given"))
			}
		}
		m.obey(string(buf[:n]), files, int(pid))
	}
}

// obey is manager_invoke_notify_message of systemd's source, as far as sd_notify(3)
// tells of it.
func (m *manager) obey(text string, files []*os.File, pid int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	if m.main == nil || pid != m.main.Process.Pid {
		m.foreign = append(m.foreign, fmt.Sprintf("%d: %s", pid, text))
		return
	}
	lines := strings.Split(text, "\n")
	name := "stored"
	for _, l := range lines {
		if v, ok := strings.CutPrefix(l, "FDNAME="); ok {
			name = v
		}
	}
	switch {
	case slices.Contains(lines, "FDSTORE=1"):
		for _, f := range files {
			if !slices.ContainsFunc(m.store, func(k kept) bool { return sameInode(k.file, f) }) {
				m.store = append(m.store, kept{name, f})
			} else {
				f.Close()
			}
		}
		files = nil
	case slices.Contains(lines, "FDSTOREREMOVE=1"):
		m.store = slices.DeleteFunc(m.store, func(k kept) bool {
			if k.name == name {
				k.file.Close()
			}
			return k.name == name
		})
	default:
		for _, l := range lines {
			m.told[l] = true
		}
	}
}

func sameInode(a, b *os.File) bool {
	x, err := a.Stat()
	y, err2 := b.Stat()
	return err == nil && err2 == nil && os.SameFile(x, y)
}

func (m *manager) names() (names []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range m.store {
		_, suffix, _ := strings.Cut(k.name, ".")
		names = append(names, suffix)
	}
	slices.Sort(names)
	return names
}

func (m *manager) heard(state string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.told[state]
}

// start starts the shim as ExecStart= does, and waits for READY=1.
func (m *manager) start() {
	m.w.t.Helper()
	m.mu.Lock()
	cmd := m.w.cmd()
	// systemd sets LISTEN_PID between fork and exec.
	cmd.Args = []string{"sh", "-c", `LISTEN_PID=$$ exec "$0" serve`, cmd.Path}
	cmd.Path = "/bin/sh"
	cmd.ExtraFiles = []*os.File{m.listener}
	names := []string{"vmnet-shim.socket"}
	for _, k := range m.store {
		cmd.ExtraFiles = append(cmd.ExtraFiles, k.file)
		names = append(names, k.name)
	}
	cmd.Env = append(cmd.Env, fmt.Sprintf("LISTEN_FDS=%d", len(names)), "LISTEN_FDNAMES="+strings.Join(names, ":"),
		"NOTIFY_SOCKET="+m.notify.LocalAddr().String())
	var log bytes.Buffer
	cmd.Stderr = &log
	err := cmd.Start()
	m.main, m.told = cmd, map[string]bool{}
	m.mu.Unlock()
	if err != nil {
		m.w.t.Fatal(err)
	}
	m.w.eventually("READY=1", func() bool { return m.heard("READY=1") })
	m.w.t.Cleanup(func() {
		if m.w.t.Failed() {
			m.w.t.Logf("a shim's log:\n%s", log.String())
		}
	})
}

// end ends the shim and returns its exit status, -1 for a signal.
func (m *manager) end(s syscall.Signal) int {
	_ = m.main.Process.Signal(s)
	_ = m.main.Wait()
	return m.main.ProcessState.ExitCode()
}

// asks asks for the gateway on a frame fd, and returns when it has answered.
func asks(t *testing.T, c net.Conn, a shim.Attachment) {
	t.Helper()
	mac, _ := net.ParseMAC(a.MAC)
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write(vmnet.AskFor(mac, a.IPs[0].Address.Addr(), a.IPs[0].Gateway)); err != nil {
		t.Fatal(err)
	}
	for buf := make([]byte, 2048); ; {
		n, err := c.Read(buf)
		if err != nil {
			t.Fatalf("no answer of the gateway: %v", err)
		}
		if n >= 42 && buf[12] == 8 && buf[13] == 6 && buf[21] == 2 {
			return
		}
	}
}

// TestSystemd has a manager that does what systemd does in the keeper's place, while
// the shim is killed, upgraded and stopped: a guest keeps its descriptor.
func TestSystemd(t *testing.T) {
	m := newManager(t)
	m.start()
	c := shim.NewClient(m.w.dirs.ShimSocket())
	defer c.Close()
	a, err := c.Attach(t.Context(), "n", "c", "eth0", shim.AttachRequest{})
	if err != nil {
		t.Fatal(err)
	}
	_, f, err := c.Frames(t.Context(), "n", "c", "eth0")
	if err != nil {
		t.Fatal(err)
	}
	guest, err := net.FileConn(f)
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer guest.Close()
	asks(t, guest, a)
	for what, end := range map[string]func() int{
		"killed":   func() int { return m.end(syscall.SIGKILL) },
		"upgraded": func() int { return m.end(syscall.SIGHUP) },
		"stopped":  func() int { return m.end(syscall.SIGTERM) }, // systemctl restart
	} {
		m.w.eventually("three descriptors are kept", func() bool { return slices.Equal(m.names(), []string{"d", "f1", "s"}) })
		status := end()
		if want := map[string]int{"killed": -1, "upgraded": 75, "stopped": 0}[what]; status != want {
			t.Errorf("%s: exit status %d, want %d", what, status, want)
		}
		if what == "stopped" {
			m.w.eventually("STOPPING=1", func() bool { return m.heard("STOPPING=1") })
		}
		m.start()
		if os.Geteuid() == 0 { // what it was given outlived its own second start
			if err := threadIs(fmt.Sprintf("/proc/%d/status", m.main.Process.Pid), tapCaps|ownerCaps); err != nil {
				t.Errorf("%s: not confined: %v", what, err)
			}
		}
		asks(t, guest, a)
		b, err := c.Attachment(t.Context(), "n", "c", "eth0")
		if err != nil || b.MAC != a.MAC || b.IPs[0] != a.IPs[0] || !b.Peer.Connected || b.Problem != "" {
			t.Errorf("%s: %+v, %v", what, b, err)
		}
	}
	if err := c.Detach(t.Context(), "n", "c", "eth0"); err != nil {
		t.Error(err)
	}
	m.w.eventually("nothing is kept", func() bool { return len(m.names()) == 0 })
	if status := m.end(syscall.SIGTERM); status != 0 {
		t.Errorf("the end: status %d", status)
	}
	if _, err := os.Stat(m.w.dirs.ShimSocket()); err != nil {
		t.Errorf("the manager's socket: %v, want it left to the manager", err)
	}
	if len(m.foreign) > 0 {
		t.Errorf("messages of other processes: %q", m.foreign)
	}
	if entries, err := os.ReadDir(m.w.dirs.Sockets()); err != nil || len(entries) > 0 {
		t.Errorf("sockets left: %v, %v", entries, err)
	}
}

// TestUnits checks that our units say what the protocol needs.
func TestUnits(t *testing.T) {
	data, err := packaging.Files.ReadFile("systemd/vmnet-shim.service")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(data), "\n")
	for _, want := range []string{"Type=notify", "RestartForceExitStatus=75", "ExecReload=/bin/sh -c 'kill -HUP $MAINPID'", "StartLimitIntervalSec=0"} {
		if !slices.Contains(lines, want) {
			t.Errorf("vmnet-shim.service has no line %s", want)
		}
	}
	n := 0
	for _, l := range lines {
		_, _ = fmt.Sscanf(l, "FileDescriptorStoreMax=%d", &n)
	}
	if n < 4096 {
		t.Errorf("FileDescriptorStoreMax=%d, want room for 1024 attachments", n)
	}
	if _, err := packaging.Files.ReadFile("systemd/vmnet-shim.socket"); errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}
