package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/handover"
	"github.com/vmnet-cni/vmnet/pkg/relay"
	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// switching is the head that ends HTTP on a connection.
const switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n"

// postFrames gives the caller a new frame fd, or takes one. The one before stays in
// use until the other side has said that it took the new one.
func (s *Server) postFrames(w http.ResponseWriter, r *http.Request, who caller) error {
	k, err := keyOf(r)
	if err != nil {
		return err
	}
	take := strings.EqualFold(r.Header.Get("Upgrade"), shim.UpgradeGive)
	if !take && !strings.EqualFold(r.Header.Get("Upgrade"), shim.UpgradeFrames) || !hasToken(r.Header.Values("Connection"), "upgrade") {
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", shim.UpgradeFrames+", "+shim.UpgradeGive)
		return &statusError{http.StatusUpgradeRequired, shim.Invalidf("Upgrade", r.Header.Get("Upgrade"), "want Connection: Upgrade and Upgrade: %s or %s", shim.UpgradeFrames, shim.UpgradeGive)}
	}
	unlock, err := s.keys.lock(r.Context(), k)
	if err != nil {
		return fmt.Errorf("attachment %s: another request is at work on it: %w", k, err)
	}
	defer unlock()
	a := s.find(who, k)
	switch {
	case a == nil:
		return notFound(k)
	case a.relay == nil:
		return shim.Errorf(shim.CodeUnavailable, "attachment %s: %s", k, a.problem)
	}
	switch {
	case take && a.direct():
		return unsupported("Upgrade", shim.UpgradeGive, "the guest of this attachment has its tap")
	case take:
		return s.takeFrames(w, r, a, who)
	case a.direct():
		return s.giveTap(w, r, a)
	}
	return s.giveFrames(w, r, a)
}

// giveFrames makes a pair of sockets and hands one over. The caller holds the
// key's lock.
func (s *Server) giveFrames(w http.ResponseWriter, r *http.Request, a *attachment) error {
	guest, host, err := handover.Pair(a.rec.Request.Frames, a.relay.MaxMessage(), a.offload())
	if err != nil {
		return fmt.Errorf("attachment %s: %w", a.rec.Key, err)
	}
	defer guest.Close()
	conn, err := hijack(w)
	if err != nil {
		return errors.Join(err, host.Close())
	}
	defer conn.Close()
	// From here on the answer is begun: errors go to the log. The host's end is kept
	// before the guest has the other: no instant at which a death would part them.
	release := a.held.keepPeer(filePulled, host)
	if err := s.handOver(r.Context(), conn, a, guest); err != nil {
		release()
		s.logOf(a.rec.Key).WithError(errors.Join(err, host.Close())).Warn("frame fd not handed over")
		return nil
	}
	port, err := newPort(a.rec.Request.Frames, host, a.relay.MaxMessage())
	if err != nil {
		release()
		s.logOf(a.rec.Key).WithError(err).Error("frame fd of no use")
		return nil
	}
	a.relay.AttachHeld(port, "fd", release)
	s.tell(a.rec.Key, a.rec.Owner, shim.EventHandedOver, "kind", a.rec.Request.Frames)
	return nil
}

// giveTap hands over the attachment's tap. The caller holds the key's lock.
func (s *Server) giveTap(w http.ResponseWriter, r *http.Request, a *attachment) error {
	tap, err := tapOf(a)
	if err != nil {
		return err
	}
	defer tap.Close()
	conn, err := hijack(w)
	if err != nil {
		return err
	}
	defer conn.Close()
	// From here on the answer is begun: errors go to the log.
	if err := s.handOver(r.Context(), conn, a, tap); err != nil {
		s.logOf(a.rec.Key).WithError(err).Warn("tap not handed over")
	}
	return nil
}

func newPort(kind string, f *os.File, maxFrame int) (relay.Port, error) {
	if kind == shim.FramesStream {
		return relay.NewStreamPort(f, maxFrame)
	}
	return relay.NewDatagramPort(f, maxFrame)
}

// handOver switches protocols and runs the exchange of package handover.
func (s *Server) handOver(ctx context.Context, conn net.Conn, a *attachment, guest *os.File) error {
	unix, err := unixConn(conn)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(unix, switching, shim.UpgradeFrames); err != nil {
		return err
	}
	return handover.Send(ctx, unix, messageOf(a), guest)
}

// unixConn returns the unix socket under a connection of the API.
func unixConn(conn any) (*net.UnixConn, error) {
	if limited, ok := conn.(*limitedConn); ok {
		conn = limited.Conn
	}
	unix, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, fmt.Errorf("connection is a %T", conn)
	}
	return unix, nil
}

func messageOf(a *attachment) handover.Message {
	m := handover.Message{
		Network: a.rec.Network, ContainerID: a.rec.ContainerID, IfName: a.rec.IfName,
		Kind: a.rec.Request.Frames, MAC: a.rec.MAC, MTU: a.ifc.MTU(),
		MaxFrameSize: a.maxFrame(), Offload: a.offload(), VnetHeader: a.vnetHeader(), IPs: []string{},
	}
	for _, p := range []netip.Prefix{a.rec.Addr, a.rec.Addr6} {
		if p.IsValid() {
			m.IPs = append(m.IPs, p.String())
		}
	}
	return m
}

// hijack takes the connection from the HTTP server. A client that sent more
// than its request does not keep to the protocol.
func hijack(w http.ResponseWriter) (net.Conn, error) {
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, err
	}
	if err := errors.Join(unread(rw.Reader), conn.SetDeadline(time.Time{})); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

func unread(r *bufio.Reader) error {
	if n := r.Buffered(); n > 0 {
		return fmt.Errorf("%d bytes after the request", n)
	}
	return nil
}

func hasToken(values []string, token string) bool {
	for _, v := range values {
		for t := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(t), token) {
				return true
			}
		}
	}
	return false
}
