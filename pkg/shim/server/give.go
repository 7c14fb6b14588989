package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/pkg/handover"
	"github.com/vmnet-cni/vmnet/pkg/relay"
	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// giveTime bounds the wait for a descriptor that a client wants to give, and then for
// it to take the answer. What is done between may wait for the system, which a crowd of
// links makes slow.
const giveTime = 5 * time.Second

// takeFrames takes a frame fd from the caller and makes it the attachment's peer.
// The one before stays in use until then. The caller holds the key's lock.
func (s *Server) takeFrames(w http.ResponseWriter, r *http.Request, a *attachment, who caller) error {
	conn, err := hijack(w)
	if err != nil {
		return err
	}
	defer conn.Close()
	// From here on the answer is begun: errors go to the log.
	if err := s.receiveFrames(r.Context(), conn, a, who); err != nil {
		s.logOf(a.rec.Key).WithError(err).Warn("frame fd not taken")
	}
	return nil
}

// receiveFrames switches protocols and runs the exchange of package handover, with
// the caller as giver.
func (s *Server) receiveFrames(ctx context.Context, hijacked any, a *attachment, who caller) error {
	conn, err := unixConn(hijacked)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(conn, switching, shim.UpgradeGive); err != nil {
		return err
	}
	soon, cancel := context.WithTimeout(ctx, giveTime)
	m, f, err := handover.Receive(soon, conn)
	cancel()
	if err != nil {
		return err
	}
	refusal := a.refuseFrames(m)
	switch {
	case refusal == nil && m.Kind == handover.KindNetNS:
		refusal = errors.Join(s.plugFirst(ctx, a, f, who), f.Close())
	case refusal == nil:
		refusal = s.attachFrames(a, f, m.Kind)
	default:
		refusal = errors.Join(refusal, f.Close())
	}
	if refusal == nil {
		s.tell(a.rec.Key, a.rec.Owner, shim.EventHandedOver, "kind", m.Kind, "from", "client")
	}
	soon, cancel = context.WithTimeout(ctx, giveTime)
	defer cancel()
	return errors.Join(refusal, handover.Answer(soon, conn, refusal))
}

// refuseFrames says why a descriptor that came with m is not for a, or nil.
func (a *attachment) refuseFrames(m handover.Message) error {
	switch k := a.rec.Key; {
	case m.Network != k.Network || m.ContainerID != k.ContainerID || m.IfName != k.IfName:
		return fmt.Errorf("message for %s/%s/%s: want %s", m.Network, m.ContainerID, m.IfName, k)
	case m.Offload != a.offload():
		return fmt.Errorf("offload %t: the attachment's is %t", m.Offload, a.offload())
	case m.Kind != handover.KindNetNS && m.VnetHeader != a.vnetHeader():
		return fmt.Errorf("vnetHeader %d: the attachment's is %d", m.VnetHeader, a.vnetHeader())
	case m.Kind == handover.KindTap && m.Offload:
		return fmt.Errorf("kind %q: want a network without offload, whose large frames tell no segment size", m.Kind)
	}
	return nil
}

// maxGiven bounds the sockets of an attachment that clients gave and that wait for
// peers.
const maxGiven = 4

// attachFrames makes f the attachment's peer, or a place where its peers appear. It
// owns f. The caller holds the key's lock.
func (s *Server) attachFrames(a *attachment, f *os.File, kind string) error {
	if kind == handover.KindTap {
		release := a.held.keepPeer(fileTap, f)
		port, err := relay.NewTapPort(f, a.maxFrame())
		if err != nil {
			release()
			return err
		}
		a.relay.AttachHeld(port, shim.ViaTap, release)
		return nil
	}
	lone, err := prepareGiven(f)
	switch {
	case err != nil:
		return errors.Join(err, f.Close())
	case lone && kind != handover.KindDgram:
		return errors.Join(errors.New("stream socket without a peer: want a connected one"), f.Close())
	case lone:
		return a.listenGiven(f)
	}
	release := a.held.keepPeer(filePulled, f)
	port, err := newPort(kind, f, a.relay.MaxMessage())
	if err != nil {
		release()
		return err
	}
	a.relay.AttachHeld(port, "fd", release)
	return nil
}

// listenGiven takes peers from f, a datagram socket with a name.
func (a *attachment) listenGiven(f *os.File) error {
	if a.given == maxGiven {
		return errors.Join(fmt.Errorf("%d sockets were given for this attachment: want no more", maxGiven), f.Close())
	}
	u, err := boundDatagram(f)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	release := a.held.keepPeer(fileGiven, f)
	_ = f.Close() // u is a duplicate
	if err := a.relay.ListenDatagram(u); err != nil {
		release()
		return err
	}
	a.given++
	return nil
}

// boundDatagram returns f, which stays the caller's, as a unix datagram socket.
func boundDatagram(f *os.File) (*net.UnixConn, error) {
	c, err := net.FilePacketConn(f)
	if err != nil {
		return nil, err
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("a socket of %s: want a unix socket", c.LocalAddr().Network()), c.Close())
	}
	return u, nil
}

// prepareGiven makes room for a burst in a socket that somebody else made, and
// reports whether it has no peer. Smaller buffers mean earlier drops, nothing worse.
func prepareGiven(f *os.File) (lone bool, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return false, err
	}
	err = raw.Control(func(fd uintptr) {
		_, perr := unix.Getpeername(int(fd))
		lone = perr != nil
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, socketBuffer)
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, socketBuffer)
	})
	return lone, err
}
