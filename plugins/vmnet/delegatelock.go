package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// A delegateLock makes DEL wait for the delegate of an ADD that was killed. A
// runtime that gives up kills this plugin and sends DEL at once, while the
// delegate that the plugin started still runs: it could write down its address
// after DEL looked for it, and nobody would ever release it.
//
// The lock is on a file of the attachment. The delegate inherits the open file,
// so that the lock ends with both of them. The file goes with the lock, except
// when the plugin is killed; then DEL removes it.
type delegateLock struct{ file *os.File }

// lockDelegate takes the lock and waits for it until ctx is done.
func (c *call) lockDelegate(ctx context.Context) (*delegateLock, error) {
	dirs, err := shim.FindDirs()
	if err != nil {
		return nil, err
	}
	if err := dirs.Prepare(); err != nil {
		return nil, err
	}
	path := filepath.Join(dirs.Runtime, "ipam-"+shim.Hash(c.conf.Name, c.env.ContainerID, c.env.IfName)+".lock")
	for wait := time.Millisecond; ; wait = min(2*wait, 20*time.Millisecond) {
		f, err := tryLock(path)
		if err != nil || f != nil {
			return &delegateLock{f}, err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, errorf(codeTryAgain, "lock %s: an ipam plugin is at work for this attachment: %w", path, ctx.Err())
		}
	}
}

// tryLock returns the locked file, or nil when another process has it or has
// just removed it.
func tryLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	lerr := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if lerr == nil && sameFile(f, path) {
		return f, nil
	}
	if lerr != nil && !errors.Is(lerr, syscall.EWOULDBLOCK) && !errors.Is(lerr, syscall.EINTR) {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, lerr), f.Close())
	}
	return nil, f.Close()
}

// sameFile reports whether the file at path is f still.
func sameFile(f *os.File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Lstat(path)
	return err == nil && os.SameFile(a, b)
}

// unlock removes the file and gives the lock back.
func (l *delegateLock) unlock() error {
	if l == nil || l.file == nil {
		return nil
	}
	err := os.Remove(l.file.Name())
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, l.file.Close())
}
