package keeper

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A child is a shim that runs.
type child struct {
	ended chan end // gets one
}

// An end is how a shim ended.
type end struct {
	status int
	how    string
}

// start starts a shim, or takes up the one that runs.
func (k *keeper) start() (*child, error) {
	k.ear.close()
	if err := k.listen(); err != nil {
		return nil, fmt.Errorf("notify socket: %w", err)
	}
	if k.cfg.Adopt != nil {
		f := k.cfg.Adopt
		k.cfg.Adopt = nil
		return adopt(f), nil
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", k.cfg.Program, os.NewSyscallError("socketpair", err))
	}
	// The other end is this keeper's for as long as the shim lives: its close
	// tells the shim that the keeper is gone.
	unix.CloseOnExec(pair[0])
	defer unix.Close(pair[1])
	_ = unix.SetNonblock(pair[1], true) // for the poller of the shim
	pid, err := k.spawn(pair[1])
	if err != nil {
		_ = unix.Close(pair[0])
		return nil, fmt.Errorf("start %s: %w", k.cfg.Program, err)
	}
	k.mu.Lock()
	k.now.pid = pid
	k.mu.Unlock()
	c := &child{make(chan end, 1)}
	go func() {
		c.ended <- wait(pid)
		_ = unix.Close(pair[0])
	}()
	return c, nil
}

// spawn prepares a thread for the shim and starts it from there.
func (k *keeper) spawn(life int) (pid int, err error) {
	if k.cfg.Prepare == nil {
		return k.fork(life, nil)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // for good: the thread ends with this goroutine
		var env []string
		if env, err = k.cfg.Prepare(); err == nil {
			pid, err = k.fork(life, env)
		}
	}()
	<-done
	return pid, err
}

// fork starts the program from this thread with the listener, the life socket and
// all that is kept, from descriptor 3 on, and with env beside its own variables.
func (k *keeper) fork(life int, env []string) (pid int, err error) {
	raw, err := k.cfg.Listener.SyscallConn()
	if err != nil {
		return 0, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	names := []string{ListenName, LifeName}
	for _, kept := range k.store.all {
		names = append(names, kept.name)
	}
	env = append(Environ(os.Environ()), env...)
	env = append(env, fmt.Sprintf("LISTEN_FDS=%d", len(names)), "LISTEN_FDNAMES="+strings.Join(names, ":"),
		fmt.Sprintf("LISTEN_PPID=%d", os.Getpid()), "NOTIFY_SOCKET="+k.ear.path)
	cerr := raw.Control(func(listener uintptr) {
		files := []uintptr{0, 1, 2, listener, uintptr(life)}
		for _, fd := range k.store.fds() {
			files = append(files, uintptr(fd))
		}
		pid, err = syscall.ForkExec(k.cfg.Program, append([]string{k.cfg.Program}, k.cfg.Args...), &syscall.ProcAttr{Dir: "/", Files: files, Env: env})
	})
	if cerr != nil {
		return 0, cerr
	}
	return pid, err
}

// wait returns how a child ended.
func wait(pid int) end {
	for {
		var ws syscall.WaitStatus
		_, err := syscall.Wait4(pid, &ws, 0, nil)
		switch {
		case err == syscall.EINTR:
			continue
		case err != nil:
			return end{1, os.NewSyscallError("wait4", err).Error()}
		case ws.Signaled():
			return end{128 + int(ws.Signal()), "signal: " + ws.Signal().String()}
		}
		return end{ws.ExitStatus(), fmt.Sprintf("exit status %d", ws.ExitStatus())}
	}
}

// adopt watches a shim that is no child of this process. How it ends, nobody
// learns but from what it said before.
func adopt(f *os.File) *child {
	c := &child{make(chan end, 1)}
	go func() {
		defer f.Close()
		_, _ = f.Read(make([]byte, 1)) // nothing is ever sent
		c.ended <- end{1, "its connection to the keeper was closed"}
	}()
	return c
}

// Environ returns env without the variables of this protocol.
func Environ(env []string) []string {
	var out []string
	for _, kv := range env {
		key, _, _ := strings.Cut(kv, "=")
		if key != "NOTIFY_SOCKET" && !strings.HasPrefix(key, "LISTEN_") {
			out = append(out, kv)
		}
	}
	return out
}
