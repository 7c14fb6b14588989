package dropin

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"strconv"
	"syscall"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// writePID writes this process' ID into a file that it keeps locked, and returns
// what removes it. A file that another process has locked is an error.
func writePID(path string) (remove func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o644)
	if err != nil {
		return nil, errors.Unwrap(err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("another process has it: %w", err), f.Close())
	}
	err = f.Truncate(0)
	if err == nil {
		_, err = fmt.Fprintf(f, "%d\n", os.Getpid())
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() {
		_ = os.Remove(path) // before the lock goes, or it could be a successor's
		_ = f.Close()
	}, nil
}

// listenFor binds the stream socket that the members of group may use. A file that
// nobody listens on is replaced. Only when the group was asked for is it an error
// that it cannot be set.
func listenFor(path, group string, must bool, log *logrus.Logger) (*net.UnixListener, error) {
	if err := clearStale("unix", path); err != nil {
		return nil, err
	}
	old := unix.Umask(0o177) // nobody may connect before the mode is right
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	unix.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("socket %s: %w", path, errors.Unwrap(err))
	}
	err = giveToGroup(path, group)
	switch {
	case err == nil:
	case must:
		return nil, errors.Join(fmt.Errorf("--socket-group %s: %w", group, err), l.Close())
	default:
		log.WithField("group", group).WithError(err).Warn("only this user can connect")
	}
	return l, nil
}

// giveToGroup lets the members of a group connect to a socket.
func giveToGroup(path, group string) error {
	g, err := user.LookupGroup(group)
	if err != nil {
		return errors.New("no such group")
	}
	gid, err := strconv.Atoi(g.Gid)
	if err != nil {
		return err
	}
	if err := os.Lchown(path, -1, gid); err != nil {
		return errors.Unwrap(err)
	}
	return os.Chmod(path, 0o770)
}

// clearStale removes the file of a socket that nobody listens on any more.
func clearStale(network, path string) error {
	fi, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("socket %s: %w", path, errors.Unwrap(err))
	case fi.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("socket %s: there is a file that is no socket; want a free path", path)
	}
	c, err := net.Dial(network, path)
	if err == nil {
		_ = c.Close()
		return fmt.Errorf("socket %s: another process listens there", path)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("socket %s: %w", path, err)
	}
	return os.Remove(path)
}
