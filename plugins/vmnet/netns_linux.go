package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// openNamespace opens path if it is a network namespace, and returns nil if it is
// no namespace: only those are on nsfs (namespaces(7)). It never blocks. The
// plugin's own namespace is refused: an interface in it would be the host's, and a
// process ID that was given again leads there (containernetworking/plugins#714).
func openNamespace(path string) (ns *os.File, err error) {
	if !onNSFS(func(st *unix.Statfs_t) error { return unix.Statfs(path, st) }) {
		return nil, nil
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil // it has just ended
	}
	if err != nil {
		return nil, fmt.Errorf("a namespace, but: %w", os.NewSyscallError("open", err))
	}
	defer func() {
		if err != nil {
			_ = unix.Close(fd)
		}
	}()
	// Somebody may have put another file there in the meantime.
	if !onNSFS(func(st *unix.Statfs_t) error { return unix.Fstatfs(fd, st) }) {
		return nil, errors.New("is no namespace any more")
	}
	if typ, err := unix.IoctlRetInt(fd, unix.NS_GET_NSTYPE); err != nil || typ != unix.CLONE_NEWNET {
		return nil, fmt.Errorf("a namespace of type %#x: want a network namespace", typ)
	}
	var own, there unix.Stat_t
	if err := errors.Join(unix.Stat("/proc/thread-self/ns/net", &own), unix.Fstat(fd, &there)); err != nil {
		return nil, err
	}
	if own.Dev == there.Dev && own.Ino == there.Ino {
		return nil, errors.New("is the network namespace that the plugin itself is in: want one of a container")
	}
	return os.NewFile(uintptr(fd), path), nil
}

func onNSFS(stat func(*unix.Statfs_t) error) bool {
	var st unix.Statfs_t
	return stat(&st) == nil && st.Type == unix.NSFS_MAGIC
}

// within runs fn on a thread in the namespace. The thread is never used for
// anything else: a goroutine that ends while locked takes its thread along
// (runtime.LockOSThread), so that none is left in the wrong namespace.
func within(ns *os.File, fn func() error) error {
	done := make(chan error, 1)
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("enter network namespace: %w", os.NewSyscallError("setns", err))
			return
		}
		done <- fn()
	}()
	return <-done
}
