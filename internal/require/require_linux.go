package require

import (
	"errors"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// netNS makes a network namespace on a thread of its own, which ends with it: a
// goroutine that returns while locked takes its thread along (runtime.LockOSThread).
func netNS() error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		done <- unix.Unshare(unix.CLONE_NEWNET)
	}()
	return <-done
}

// userNS runs a program that does nothing in new namespaces: a process with
// several threads may not make a user namespace for itself (unshare(2)).
func userNS() error {
	path, err := exec.LookPath("true")
	if err != nil {
		return err
	}
	cmd := exec.Command(path)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: unix.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: unix.Getegid(), Size: 1}},
	}
	err = cmd.Run()
	if errors.Is(err, unix.ENOSPC) { // user.max_user_namespaces is 0 (user_namespaces(7))
		return unix.EPERM
	}
	return err
}
