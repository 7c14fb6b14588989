package keeper_test

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/internal/require"
)

// stranger connects to the notify socket as another user, who may pass through its
// directory as through root's runtime directory.
func stranger(dir, addr string) error {
	if err := os.Chmod(dir, 0o711); err != nil {
		return err
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		const nobody = 65534
		if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, nobody, nobody, nobody); e != 0 {
			done <- fmt.Errorf("setresuid: %w", e)
			return
		}
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			err = unix.Connect(fd, &unix.SockaddrUnix{Name: addr})
			_ = unix.Close(fd)
		}
		if !errors.Is(err, unix.EACCES) {
			done <- fmt.Errorf("connect as another user: %w, want %w", err, unix.EACCES)
			return
		}
		done <- nil
	}()
	return <-done
}

// TestStrangerCannotSpeakToKeeper has another user try while the socket is there.
func TestStrangerCannotSpeakToKeeper(t *testing.T) {
	require.Root(t)
	if lives, log, err := run(t, "stranger ready hidden exit=0", nil); err != nil || len(lives) != 1 {
		t.Errorf("lives %q, %v\n%s", lives, err, log)
	}
}
