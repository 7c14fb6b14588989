package server

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// What is in this file does as package os, with as many system calls as it takes: every
// ADD and DEL writes and removes files. Package os asks the poller about each file that
// it opens, looks at what it renames to, and tries to remove what is not there as a
// directory too.

// createFile makes an empty file in the place of what is there.
func createFile(path string) (*os.File, error) {
	var fd int
	err := again(func() (err error) {
		fd, err = unix.Open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC|unix.O_CLOEXEC, 0o600)
		return err
	})
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// rename puts a file in the place of another.
func rename(from, to string) error {
	if err := again(func() error { return unix.Rename(from, to) }); err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return nil
}

// remove removes a file. One that is not there is fine.
func remove(path string) error {
	if err := again(func() error { return unix.Unlink(path) }); err != nil && !errors.Is(err, unix.ENOENT) {
		return &fs.PathError{Op: "remove", Path: path, Err: err}
	}
	return nil
}

// again repeats a system call that a signal broke off, as file systems in user space
// let it happen (signal(7)).
func again(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
