package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"

	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// socketBuffer is what is asked for the buffers of an attachment's datagram
// socket, in bytes. The system may give less.
const socketBuffer = 4 << 20

// bindSockets makes the attachment's two sockets and gives them to its relay. An
// attachment whose guest has the tap has none.
func (s *Server) bindSockets(a *attachment) error {
	if a.direct() {
		return nil
	}
	for _, kind := range []string{shim.FramesDgram, shim.FramesStream} {
		path := s.cfg.Dirs.Socket(a.rec.Network, a.rec.ContainerID, a.rec.IfName, kind)
		a.undo.add(kind+" socket", func(context.Context) error {
			if a.held != nil && s.outlived() {
				return nil
			}
			return remove(path)
		})
		if err := s.listenFrames(a, kind, path); err != nil {
			return fmt.Errorf("attachment %s: %s socket: %w", a.rec.Key, kind, err)
		}
		if err := s.giveSocket(path, a.rec.Owner); err != nil {
			return fmt.Errorf("attachment %s: %s socket: %w", a.rec.Key, kind, err)
		}
		fi, err := os.Lstat(path)
		if err != nil {
			return fmt.Errorf("attachment %s: %s socket: %w", a.rec.Key, kind, err)
		}
		a.sockets = append(a.sockets, boundSocket{path, fi})
	}
	return nil
}

// A boundSocket is a socket's file as it was made.
type boundSocket struct {
	path string
	file fs.FileInfo
}

// missingSocket says which of the attachment's sockets nobody can reach any more
// by its path, or "".
func (a *attachment) missingSocket() string {
	for _, s := range a.sockets {
		switch fi, err := os.Lstat(s.path); {
		case err != nil:
			return fmt.Sprintf("socket %s: %v", s.path, errors.Unwrap(err))
		case !os.SameFile(fi, s.file):
			return fmt.Sprintf("socket %s: is not the shim's any more", s.path)
		}
	}
	return ""
}

// listenFrames gives the relay a named socket, which it then owns: the one that an
// earlier shim bound, or a new one.
func (s *Server) listenFrames(a *attachment, kind, path string) error {
	if f := s.keptSocket(a, kind, path); f != nil {
		err := a.resumeSocket(kind, f, s.lastPeer(a.rec.Key, path))
		if err == nil || scarce(err) {
			return err
		}
		s.giveUp(a, kind[:1], kind+" socket", err)
	}
	// Whatever is there is of an earlier life of this attachment: the directory is
	// the shim's alone.
	if err := remove(path); err != nil {
		return err
	}
	if kind == shim.FramesDgram {
		c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
		if err != nil {
			return err
		}
		// Smaller buffers mean earlier drops, nothing worse.
		_, _ = c.SetReadBuffer(socketBuffer), c.SetWriteBuffer(socketBuffer)
		a.held.keep(fileDgram, c)
		return a.relay.ListenDatagram(c)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return err
	}
	l.SetUnlinkOnClose(false) // the undo removes it, by then it may be a successor's
	a.held.keep(fileStream, l)
	return a.relay.ListenStream(l)
}

// resumeSocket gives the relay a socket that an earlier shim bound, and the
// datagram peer which that had. f stays the caller's.
func (a *attachment) resumeSocket(kind string, f *os.File, peer string) error {
	a.held.take(kind[:1], f)
	if kind == shim.FramesDgram {
		u, err := boundDatagram(f)
		if err != nil {
			return err
		}
		return a.relay.ListenDatagramFor(u, peer)
	}
	l, err := net.FileListener(f)
	if err != nil {
		return err
	}
	u, ok := l.(*net.UnixListener)
	if !ok {
		return errors.Join(fmt.Errorf("%s is a socket of %s", f.Name(), l.Addr().Network()), l.Close())
	}
	return a.relay.ListenStream(u)
}

// giveSocket lets the owner of the attachment, and nobody else, connect.
func (s *Server) giveSocket(path string, owner uint32) error {
	if err := os.Chmod(path, 0o600); err != nil {
		return err
	}
	if me := os.Geteuid(); me != 0 || owner == 0 {
		return nil
	}
	return os.Chown(path, int(owner), -1)
}
