package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/shim/keeper"
)

// A legacy is what the keeper left to this shim.
type legacy struct {
	listener *os.File      // nil: none
	life     *os.File      // ends when the keeper dies; nil under systemd
	kept     []keeper.File // the store
	notifier *keeper.Notifier
	ours     bool
	fds      int          // how many were passed on
	keeper   atomic.Int64 // its process ID; 0: a service manager, or none
}

// inheritKept takes what a keeper left, and cleans the environment of it.
func inheritKept(log *logrus.Logger) (*legacy, error) {
	in, err := keeper.Inherited(os.Getenv)
	if err != nil {
		return nil, err
	}
	for _, kv := range os.Environ() {
		if key, _, _ := strings.Cut(kv, "="); key == "NOTIFY_SOCKET" || strings.HasPrefix(key, "LISTEN_") {
			if err := os.Unsetenv(key); err != nil {
				return nil, err
			}
		}
	}
	g := &legacy{ours: in.Ours, fds: len(in.Files)}
	if in.Ours {
		g.keeper.Store(int64(os.Getppid()))
	}
	for _, f := range in.Files {
		switch {
		case f.Name == keeper.ListenName, f.Name == "unknown", strings.HasSuffix(f.Name, ".socket"):
			g.listener = f.File
		case f.Name == keeper.LifeName && in.Ours:
			g.life = f.File
		default:
			g.kept = append(g.kept, f)
		}
	}
	if in.Notify != "" {
		if g.notifier, err = keeper.NewNotifier(in.Notify); err != nil {
			log.WithError(err).Warn("nothing is kept for the next shim")
		}
	}
	return g, nil
}

// isKept tells descriptors of the keeper from strays.
func (g *legacy) isKept(fd int) bool { return fd < 3+g.fds }

// notify tells the keeper a state, if there is one.
func (g *legacy) notify(state string, log *logrus.Logger) {
	if g.notifier == nil {
		return
	}
	if err := g.notifier.Notify(state); err != nil {
		log.WithError(err).Warn("keeper not told")
	}
}

// stopping tells the keeper, and waits until it knows, that this shim ends because
// it was asked to or is not needed.
func (g *legacy) stopping(log *logrus.Logger) {
	g.notify("STOPPING=1", log)
	if g.notifier != nil {
		_ = g.notifier.Sync() // a keeper that is gone starts no other
	}
}

// managed reports whether the listener is a service manager's, who removes its
// file.
func (g *legacy) managed() bool { return g.listener != nil && !g.ours }

func (g *legacy) close() {
	if g.life != nil {
		_ = g.life.Close()
	}
	if g.notifier != nil {
		_ = g.notifier.Close()
	}
}

// keeperPause is the wait between two tries to start a keeper.
const keeperPause = time.Second

// watch starts another keeper whenever the one there is dies, until ctx ends: the
// guests of a shim whose keeper is gone notice nothing, and after this nor do they
// when the shim dies next.
func (g *legacy) watch(ctx context.Context, dirs shim.Dirs, l *net.UnixListener, log *logrus.Logger) {
	if g.life == nil || g.notifier == nil {
		return
	}
	for {
		life := g.life
		stop := context.AfterFunc(ctx, func() { _ = life.SetReadDeadline(time.Unix(1, 0)) })
		_, _ = life.Read(make([]byte, 1)) // nothing is ever sent
		stop()
		for {
			if ctx.Err() != nil {
				return
			}
			pid, err := g.another(dirs, l)
			if err == nil {
				log.WithField("keeper", pid).Warn("the keeper has died; another one has taken over")
				break
			}
			log.WithError(err).Error("the keeper has died, and no other could be started: guests would be cut off if this shim died")
			select {
			case <-ctx.Done():
				return
			case <-time.After(keeperPause):
			}
		}
	}
}

// another starts a keeper for this running shim.
func (g *legacy) another(dirs shim.Dirs, l *net.UnixListener) (pid int, err error) {
	program, err := ownProgram()
	if err != nil {
		return 0, err
	}
	ours, theirs, err := lifePair()
	if err != nil {
		return 0, err
	}
	defer theirs.Close()
	lf, err := keeper.Duplicate(l, keeper.ListenName) // l stays non-blocking, or its Close would wait for a client
	if err != nil {
		return 0, errors.Join(err, ours.Close())
	}
	defer lf.Close()
	args := append([]string{"keep", "--listen-fd", "3", "--adopt-fd", "4", "--"}, withoutListen(os.Args[1:])...)
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = "/", os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{lf, theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return 0, errors.Join(err, ours.Close())
	}
	go func() { _ = cmd.Wait() }() // it is a child of this shim until that dies; no zombie
	if err := g.moveTo(keeper.NotifyPath(dirs.Runtime, cmd.Process.Pid)); err != nil {
		_ = cmd.Process.Kill()
		return 0, errors.Join(err, ours.Close())
	}
	_ = g.life.Close()
	g.life = ours
	g.keeper.Store(int64(cmd.Process.Pid))
	return cmd.Process.Pid, nil
}

// moveTo waits for the notify socket of the new keeper.
func (g *legacy) moveTo(addr string) (err error) {
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if err = g.notifier.MoveTo(addr); err == nil {
			return nil
		}
	}
	return fmt.Errorf("the new keeper does not listen: %w", err)
}

// lifePair returns the two ends by which shim and keeper notice each other's
// death.
func lifePair() (ours, theirs *os.File, err error) {
	syscall.ForkLock.RLock()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fds[0])
		unix.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		_, _ = unix.Close(fds[0]), unix.Close(fds[1])
		return nil, nil, os.NewSyscallError("set non-blocking", err)
	}
	return os.NewFile(uintptr(fds[0]), keeper.LifeName), os.NewFile(uintptr(fds[1]), keeper.LifeName), nil
}

// withoutListen leaves the flag of an inherited listener out of the arguments.
func withoutListen(args []string) []string {
	var out []string
	for i := 0; i < len(args); i++ {
		switch {
		case args[i] == "--listen-fd":
			i++
		case strings.HasPrefix(args[i], "--listen-fd="):
		default:
			out = append(out, args[i])
		}
	}
	return out
}
