package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// plugFirst makes the guest's end of the attachment a link in the namespace ns, and
// keeps that it is there. The caller holds the key's lock. A client that is neither
// root nor the shim's own user is refused: it can open namespaces that are not its.
func (s *Server) plugFirst(ctx context.Context, a *attachment, ns *os.File, who caller) error {
	if who.uid != 0 && who.uid != s.uid {
		return fmt.Errorf("user %d: only root and user %d may have interfaces made in a namespace", who.uid, s.uid)
	}
	ino, err := inodeOf(ns)
	if err != nil {
		return err
	}
	next := *a // whoever has found a reads it without a lock
	next.rec.Plugged = ino
	if err := plug(ctx, &next, ns); err != nil {
		return err
	}
	file := s.state.attachmentFile(next.rec.Key)
	if err := replaceJSON(file, next.rec); err != nil {
		return err // the client deletes the attachment, and the link with it
	}
	s.late.note(file)
	s.mu.Lock()
	s.atts[next.rec.Key] = &next
	s.mu.Unlock()
	return setRules(ctx, &next)
}

// replug takes the link up that an earlier shim made, or makes it again. For that the
// namespace is looked for where the client said that it is, and must be the same.
func replug(ctx context.Context, a *attachment) error {
	if a.rec.Plugged == 0 {
		return nil
	}
	if err := plug(ctx, a, nil); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	fd, err := unix.Open(a.rec.Request.Sandbox, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("attachment %s: network namespace: %w", a.rec.Key, &os.PathError{Op: "open", Path: a.rec.Request.Sandbox, Err: err})
	}
	ns := os.NewFile(uintptr(fd), a.rec.Request.Sandbox)
	defer ns.Close()
	if ino, err := inodeOf(ns); err != nil || ino != a.rec.Plugged {
		return fmt.Errorf("attachment %s: network namespace %s: is another one by now", a.rec.Key, a.rec.Request.Sandbox)
	}
	return plug(ctx, a, ns)
}

func plug(ctx context.Context, a *attachment, ns *os.File) error {
	plugger, ok := a.dev.(vmnet.Plugger)
	if !ok {
		return shim.Errorf(shim.CodeUnsupported, "attachment %s: driver %s makes no interfaces in namespaces: %v", a.rec.Key, a.rec.Granted.Driver, errors.ErrUnsupported)
	}
	if err := plugger.Plug(ctx, ns, a.rec.IfName); err != nil {
		return fmt.Errorf("attachment %s: %w", a.rec.Key, err)
	}
	return nil
}

func inodeOf(f *os.File) (uint64, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	var st unix.Stat_t
	var serr error
	err = raw.Control(func(fd uintptr) { serr = unix.Fstat(int(fd), &st) })
	return st.Ino, errors.Join(err, serr)
}
