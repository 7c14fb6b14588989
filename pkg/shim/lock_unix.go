//go:build unix

package shim

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// LockFile takes the lock on the file at path, which it makes if need be, and
// waits for it until ctx is done. The lock ends with unlock or with the process.
// The file stays: removing it would let two processes lock two files of one
// name.
func LockFile(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	// flock(2) cannot be given a deadline, so this asks again and again.
	for wait := time.Millisecond; ; wait = min(2*wait, 20*time.Millisecond) {
		err := flock(f)
		if err == nil {
			return func() { _ = f.Close() }, nil // close(2) gives the lock back
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("lock %s: held by another process: %w", path, ctx.Err()), f.Close())
		}
	}
}

func flock(f *os.File) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var lerr error
	err = raw.Control(func(fd uintptr) {
		for {
			lerr = unix.Flock(int(fd), unix.LOCK_EX|unix.LOCK_NB)
			if !errors.Is(lerr, unix.EINTR) {
				return
			}
		}
	})
	return errors.Join(err, lerr)
}
