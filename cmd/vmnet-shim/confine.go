package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/sirupsen/logrus"

	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// A confinement is what the process keeps of its rights.
type confinement struct {
	write []string // directories and files below which it may write; root: everywhere
	root  bool
	caps  uint32 // root: a bit for each capability that is kept
}

// confinedEnv is set for a program that was started with fewer rights.
const confinedEnv = "VMNET_SHIM_CONFINED"

// confineFirst gives up the rights that the shim does not need, and starts the
// program again with those that are left: what belongs to a thread, as most of
// this does on Linux, then belongs to all. It returns in the process that has done
// so, or that a keeper started so, or where the system cannot. Descriptors, process
// ID and environment stay.
func (f *serveFlags) confineFirst(log logrus.FieldLogger) error {
	if os.Getenv(confinedEnv) != "" {
		return os.Unsetenv(confinedEnv)
	}
	if !f.confines() {
		return nil
	}
	dirs, err := shim.FindDirs()
	if err == nil {
		err = dirs.Prepare()
	}
	if err != nil {
		return err
	}
	listener := f.listenFD
	if os.Getenv("LISTEN_FDS") != "" {
		listener = 3 // a keeper's, which passes it on first
	}
	var socket string
	if listener >= 0 {
		socket = socketOf(listener)
	}
	err = f.confinement(dirs, socket).startAgain()
	if errors.Is(err, errors.ErrUnsupported) {
		log.WithError(err).Debug("not confined")
		return nil
	}
	return err
}

// confines tells whether the shim gives up rights. A library that stands in for
// vmnet.framework does as it likes, and is let.
func (f *serveFlags) confines() bool {
	return f.confine && os.Getenv("VMNET_FRAMEWORK_LIBRARY") == ""
}

// confinement is what the shim keeps that listens on socket, or nowhere yet if
// that is empty.
func (f *serveFlags) confinement(dirs shim.Dirs, socket string) confinement {
	c := confinement{write: []string{dirs.Runtime, dirs.State, "/dev/null"}, root: os.Geteuid() == 0, caps: f.caps()}
	if socket != "" {
		c.write = append(c.write, filepath.Dir(socket))
	}
	return c
}

// confineChild returns what a keeper does on the thread from which it starts program
// as a shim with arguments args and listener l, so that the shim need not start
// itself again: a third of the time until it serves. A program that has been put in
// the place of the keeper's own may need other rights, and sees to it itself. Nil:
// nothing, also for arguments that are wrong, since the shim says what is.
func confineChild(program string, args []string, dirs shim.Dirs, l *os.File) func() ([]string, error) {
	var f serveFlags
	cmd := f.command()
	cmd.SetOut(io.Discard)
	cmd.SetErr(io.Discard)
	if len(args) == 0 || args[0] != cmd.Name() || cmd.ParseFlags(args[1:]) != nil || checkDrivers(f.drivers) != nil || !f.confines() {
		return nil
	}
	raw, err := l.SyscallConn()
	if err != nil {
		return nil
	}
	var socket string
	if raw.Control(func(fd uintptr) { socket = socketOf(int(fd)) }) != nil {
		return nil
	}
	c := f.confinement(dirs, socket)
	return func() ([]string, error) {
		if !isOwn(program) {
			return nil, nil
		}
		err := c.apply()
		if errors.Is(err, errors.ErrUnsupported) {
			return nil, nil // the shim says so
		}
		return []string{confinedEnv + "=1"}, err
	}
}

// isOwn tells whether the file at path is the program of this process.
func isOwn(path string) bool {
	own, err := os.Stat("/proc/self/exe") // of Linux, as all of this
	if err != nil {
		return false
	}
	fi, err := os.Stat(path)
	return err == nil && os.SameFile(own, fi)
}
