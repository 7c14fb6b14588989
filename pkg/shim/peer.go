package shim

import (
	"fmt"
	"io/fs"
	"net"
	"os"
)

// PeerUID asks the kernel for the effective user ID of the process at the other
// end of c, as it was when that connected or began to listen. The error wraps
// errors.ErrUnsupported where the system does not tell.
func PeerUID(c *net.UnixConn) (uint32, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var uid uint32
	var cerr error
	if err := raw.Control(func(fd uintptr) { uid, cerr = peerUID(int(fd)) }); err != nil {
		return 0, err
	}
	return uid, cerr
}

// checkShim refuses a shim of another user: in a place where others may write, as
// /tmp, anybody can listen first. Only root's and the caller's own are trusted;
// root trusts whom it is told to.
func checkShim(c *net.UnixConn, path string) error {
	me := os.Geteuid()
	if me == 0 {
		return nil
	}
	uid, err := PeerUID(c)
	switch {
	case err != nil:
		return fmt.Errorf("shim %s: peer credentials: %w", path, err)
	case uid != 0 && int(uid) != me:
		return &Error{Code: CodeDenied, cause: fs.ErrPermission, Message: fmt.Sprintf("shim %s: belongs to user %d, want %d or root", path, uid, me)}
	}
	return nil
}
