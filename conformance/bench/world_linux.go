package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A world is a host and its outside, each a network namespace, with a veth between
// them that has every offload, as a good network card has:
//
//	guest (a namespace for each) ─ contender ─ host ─ veth ─ outside
type world struct {
	ctx     context.Context
	dir     string // for sockets and state
	self    string // this program
	host    string // /proc/PID/ns/net
	outside string
	server  netip.AddrPort // in the outside
	procs   []*exec.Cmd
	gentle  []*exec.Cmd // those that are asked to end, and end
	cleanup []func()
}

// Addresses of the world. Those for documentation overlap no machine's.
const (
	hostAddr    = "198.51.100.2"
	outsideAddr = "198.51.100.1"
)

func newWorld(ctx context.Context) (w *world, err error) {
	w = &world{ctx: ctx}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	if w.self, err = os.Executable(); err != nil {
		return w, err
	}
	if w.dir, err = os.MkdirTemp("", "vmb"); err != nil {
		return w, err
	}
	w.cleanup = append(w.cleanup, func() { _ = os.RemoveAll(w.dir) })
	if err := os.Chmod(w.dir, 0o755); err != nil { //nolint:gosec // passt runs as nobody
		return w, err
	}
	if w.host, err = w.namespace(); err != nil {
		return w, err
	}
	if w.outside, err = w.namespace(); err != nil {
		return w, err
	}
	err = errors.Join(
		w.ip(w.host, "link add up0 type veth peer name down0 netns "+w.pid(w.outside)),
		w.ip(w.host, "addr add "+hostAddr+"/24 dev up0"),
		w.ip(w.host, "link set up0 up"),
		w.ip(w.outside, "addr add "+outsideAddr+"/24 dev down0"),
		w.ip(w.outside, "link set down0 up"),
		w.ip(w.host, "route add default via "+outsideAddr),
		w.sh(w.host, "sysctl", "-qw", "net.ipv4.ip_forward=1"),
	)
	if err != nil {
		return w, err
	}
	line, err := w.start(w.outside, w.self, "child-serve", outsideAddr+":0")
	if err != nil {
		return w, err
	}
	w.server, err = netip.ParseAddrPort(line.first)
	return w, err
}

// namespace makes a network namespace that is there while the world is.
func (w *world) namespace() (string, error) {
	cmd := exec.CommandContext(w.ctx, "sleep", "infinity")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return "", fmt.Errorf("network namespace: %w", err)
	}
	w.procs = append(w.procs, cmd)
	ns := "/proc/" + strconv.Itoa(cmd.Process.Pid) + "/ns/net"
	// A new namespace lets 10 datagrams wait at a unix socket, where systemd's
	// 50-default.conf lets 512 on the machines that it starts.
	return ns, errors.Join(w.ip(ns, "link set lo up"), w.sh(ns, "sysctl", "-qw", "net.unix.max_dgram_qlen=512"))
}

// pid returns whose namespace it is.
func (w *world) pid(ns string) string { return strings.Split(ns, "/")[2] }

// in returns a command in a network namespace.
func (w *world) in(ns string, argv ...string) *exec.Cmd {
	return exec.CommandContext(w.ctx, "nsenter", append([]string{"--net=" + ns, "--"}, argv...)...)
}

// sh runs a command in a network namespace.
func (w *world) sh(ns string, argv ...string) error {
	if out, err := w.in(ns, argv...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

func (w *world) ip(ns, args string) error {
	return w.sh(ns, append([]string{"ip"}, strings.Fields(args)...)...)
}

// A process runs in the world until its end.
type process struct {
	pid   int
	first string // line of its output
}

// start starts a program in a namespace and waits for its first line.
func (w *world) start(ns string, argv ...string) (process, error) {
	cmd := w.in(ns, argv...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return process{}, err
	}
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return process{}, err
	}
	w.procs = append(w.procs, cmd)
	r := bufio.NewReader(out)
	line, err := r.ReadString('\n')
	if err != nil {
		return process{}, fmt.Errorf("%s: no line: %w", strings.Join(argv, " "), err)
	}
	go func() { _, _ = io.Copy(io.Discard, r) }() // ends with the process
	return process{cmd.Process.Pid, strings.TrimSpace(line)}, nil
}

// startQuiet starts a program that says nothing when it is ready: what it writes
// goes to a file, and ready is asked until it says yes.
func (w *world) startQuiet(ns, name string, env []string, ready func() bool, argv ...string) (process, error) {
	log, err := os.Create(filepath.Join(w.dir, name+".log"))
	if err != nil {
		return process{}, err
	}
	defer log.Close()
	cmd := w.in(ns, argv...)
	cmd.Stdout, cmd.Stderr, cmd.Env = log, log, append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return process{}, err
	}
	w.procs = append(w.procs, cmd)
	for end := time.Now().Add(15 * time.Second); !ready(); {
		if time.Now().After(end) {
			text, _ := os.ReadFile(log.Name()) // for the message only
			return process{}, fmt.Errorf("%s is not ready after 15 s: %s", name, text)
		}
		time.Sleep(20 * time.Millisecond)
	}
	return process{pid: cmd.Process.Pid}, nil
}

// measure runs traffic between a guest and the outside.
func (w *world) measure(guest string, mode byte, long time.Duration) (t traffic, err error) {
	cmd := w.in(guest, w.self, "child-run", w.server.String(), string(mode), long.String())
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return t, err
	}
	return t, json.Unmarshal(out, &t)
}

// close ends what was started, the last first.
func (w *world) close() {
	for _, p := range w.gentle {
		_ = p.Process.Signal(syscall.SIGTERM) // it may be gone already
		_ = p.Wait()
	}
	for i := len(w.procs) - 1; i >= 0; i-- {
		_ = w.procs[i].Process.Kill() // likewise
		_ = w.procs[i].Wait()
	}
	for i := len(w.cleanup) - 1; i >= 0; i-- {
		w.cleanup[i]()
	}
}

// exists reports whether there is such a file.
func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// cpuTime returns the processor time that a process has used, in seconds, or -1.
func cpuTime(pid int) float64 {
	tasks, _ := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/stat") // the pattern is good
	sum := 0.0
	for _, t := range tasks {
		b, err := os.ReadFile(t)
		if err != nil {
			continue // a thread that ended
		}
		_, rest, _ := strings.Cut(string(b), ") ")
		f := strings.Fields(rest)
		if len(f) < 13 {
			return -1
		}
		for _, ticks := range f[11:13] { // proc_pid_stat(5): utime, stime
			n, _ := strconv.Atoi(ticks)
			sum += float64(n) / 100 // USER_HZ
		}
	}
	if len(tasks) == 0 {
		return -1
	}
	return sum
}
