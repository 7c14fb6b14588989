package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/pkg/handover"
	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// giveTime bounds the wait for a descriptor that a client wants to give.
const giveTime = 5 * time.Second

// takeFrames takes a frame fd from the caller and makes it the attachment's peer.
// The one before stays in use until then. The caller holds the key's lock.
func (s *Server) takeFrames(w http.ResponseWriter, r *http.Request, a *attachment) error {
	conn, err := hijack(w)
	if err != nil {
		return err
	}
	defer conn.Close()
	// From here on the answer is begun: errors go to the log.
	if err := s.receiveFrames(r.Context(), conn, a); err != nil {
		s.logOf(a.rec.Key).WithError(err).Warn("frame fd not taken")
	}
	return nil
}

// receiveFrames switches protocols and runs the exchange of package handover, with
// the caller as giver.
func (s *Server) receiveFrames(ctx context.Context, hijacked any, a *attachment) error {
	conn, err := unixConn(hijacked)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(conn, switching, shim.UpgradeGive); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, giveTime)
	defer cancel()
	m, f, err := handover.Receive(ctx, conn)
	if err != nil {
		return err
	}
	refusal := a.refuseFrames(m)
	if refusal == nil {
		refusal = a.attachFrames(f, m.Kind)
	} else {
		refusal = errors.Join(refusal, f.Close())
	}
	return errors.Join(refusal, handover.Answer(ctx, conn, refusal))
}

// refuseFrames says why a descriptor that came with m is not for a, or nil.
func (a *attachment) refuseFrames(m handover.Message) error {
	switch k := a.rec.Key; {
	case m.Network != k.Network || m.ContainerID != k.ContainerID || m.IfName != k.IfName:
		return fmt.Errorf("message for %s/%s/%s: want %s", m.Network, m.ContainerID, m.IfName, k)
	case m.Offload != a.rec.Granted.Offload:
		return fmt.Errorf("offload %t: the attachment's is %t", m.Offload, a.rec.Granted.Offload)
	case m.Kind == handover.KindTap:
		return fmt.Errorf("kind %q: want %s or %s", m.Kind, handover.KindDgram, handover.KindStream)
	}
	return nil
}

// attachFrames makes f the attachment's peer. It owns f.
func (a *attachment) attachFrames(f *os.File, kind string) error {
	if err := prepareGiven(f); err != nil {
		return errors.Join(err, f.Close())
	}
	port, err := newPort(kind, f, a.ifc.MaxPacketSize())
	if err != nil {
		return err
	}
	a.relay.Attach(port, "fd")
	return nil
}

// prepareGiven makes sure that a socket which somebody else made has its other end
// and room for a burst. Smaller buffers mean earlier drops, nothing worse.
func prepareGiven(f *os.File) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var perr error
	err = raw.Control(func(fd uintptr) {
		if _, err := unix.Getpeername(int(fd)); err != nil {
			perr = fmt.Errorf("socket without a peer: want a connected one: %w", os.NewSyscallError("getpeername", err))
			return
		}
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, socketBuffer)
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, socketBuffer)
	})
	return errors.Join(err, perr)
}
