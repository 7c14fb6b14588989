package relay

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// probeEvery is how often a newcomer on the named datagram socket makes the relay
// ask whether the peer is still there.
const probeEvery = 100 * time.Millisecond

// ListenDatagram takes peers from c, a named AF_UNIX SOCK_DGRAM socket: whoever
// sends a frame, or the greeting, becomes the peer. It owns c, also when it
// fails; the socket's file is the caller's to remove.
//
// The socket stays unconnected: one that is connected refuses all others with
// EPERM (unix(7)), also after the peer has died.
func (r *Relay) ListenDatagram(c *net.UnixConn) error { return r.listenDatagram(c, false, "") }

// ListenDatagramFor is ListenDatagram for a socket that had a peer in another
// relay: who has the name, as PeerEvent told it, is the peer at once, if it is
// there and nobody else is the peer.
func (r *Relay) ListenDatagramFor(c *net.UnixConn, name string) error {
	return r.listenDatagram(c, false, name)
}

func (r *Relay) listenDatagram(c *net.UnixConn, plain bool, name string) error {
	if a, ok := c.LocalAddr().(*net.UnixAddr); !ok || a.Net != "unixgram" || a.Name == "" || a.Name == "@" {
		_ = c.Close()
		return fmt.Errorf("relay: listen: want a named datagram socket, not %v: %w", c.LocalAddr(), os.ErrInvalid)
	}
	_ = c.SetWriteBuffer(socketBuffer) // less is slower, not wrong
	_ = c.SetReadBuffer(socketBuffer)
	s, err := newSock(c, r.MaxMessage())
	if err != nil {
		return fmt.Errorf("relay: listen: %w", err)
	}
	s.countInto(&r.fromGuest.drops, r.cfg.PeerWait, r.cfg.Threads)
	l := &dgramListener{r: r, s: s, plain: plain, name: c.LocalAddr().String()}
	l.out.init(s, plain)
	l.resume(name)
	if !r.start(l, l.run) {
		_ = l.Close()
		return fmt.Errorf("relay: listen: %w", net.ErrClosed)
	}
	return nil
}

// A dgramListener is a named datagram socket. Its peers share it, one after
// another.
type dgramListener struct {
	r     *Relay
	s     *sock
	plain bool
	name  string // of the socket
	out   dgramWriter

	// Used by run only.
	in        dgramReader
	kept      bundle
	frames    [][]byte // of the batch, all from who
	who       *peer
	whoAddr   *rawAddr // nil unless who is a peer of this socket
	nextProbe time.Time
}

// Close implements io.Closer.
func (l *dgramListener) Close() error { return l.s.close() }

// run reads until the socket is closed. Buffers come with the first datagram:
// most attachments never see one here.
func (l *dgramListener) run() {
	if !l.readable() {
		return
	}
	l.in.init(l.s, true, l.plain)
	l.kept.reset(l.r.MaxMessage(), BatchLen(l.r.max), l.gap())
	l.frames = make([][]byte, 0, BatchLen(l.r.max))
	for {
		bufs, _ := l.kept.get()
		got, err := l.in.read(bufs)
		switch {
		case err == nil:
			l.batch(got, bufs)
			l.kept.put(len(got))
		case errors.Is(err, net.ErrClosed):
			return
		default:
			time.Sleep(acceptPause) // a want of memory at most: the socket is ours
		}
	}
}

// readable waits for a datagram without taking it.
func (l *dgramListener) readable() bool {
	err := l.s.raw.Read(func(fd uintptr) bool {
		fds := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds[:], 0)
		return err != nil || n > 0
	})
	return err == nil
}

// batch hands datagrams on, in runs from one sender.
func (l *dgramListener) batch(got []received, bufs [][]byte) {
	for i := range got {
		g := &got[i]
		msg := bufs[i][:min(g.size, len(bufs[i]))]
		why := judge(msg, g.size, l.s.max)
		if why == ReasonNone || why == ReasonGreeting {
			if no := l.turnTo(&g.from); no != ReasonNone {
				why = no
			}
		}
		if why != ReasonNone {
			l.r.fromGuest.drops.add(why, 1)
			continue
		}
		l.frames = append(l.frames, l.kept.full[i][:l.kept.gap+len(msg)])
	}
	l.flush()
}

// gap is how many bytes the interface wants before what a peer sends.
func (l *dgramListener) gap() int { return l.r.hdr.above(l.r.hdr.socket) - l.r.hdr.socket }

// flush hands on what has been gathered.
func (l *dgramListener) flush() {
	l.r.upBatch(l.who, l.frames)
	l.frames = l.frames[:0]
}

// turnTo makes from the sender of what is gathered next, and the peer if it may
// be. It returns why it may not.
func (l *dgramListener) turnTo(from *rawAddr) Reason {
	if cur := l.r.peer.Load(); cur != nil && cur == l.who && from.equal(l.whoAddr) {
		return ReasonNone
	}
	l.flush()
	if !from.named() {
		return ReasonUnnamed
	}
	cur := l.r.peer.Load()
	if cur != nil {
		now := time.Now()
		if now.Before(l.nextProbe) {
			return ReasonOtherPeer
		}
		l.nextProbe = now.Add(probeEvery)
	}
	cur, ok := l.r.vacant()
	if !ok {
		return ReasonOtherPeer
	}
	if !l.admit(*from, cur) {
		return ReasonOtherPeer
	}
	return ReasonNone
}

// admit makes from the peer, in the place of cur.
func (l *dgramListener) admit(from rawAddr, cur *peer) bool {
	np := &peer{link: &namedLink{l: l, addr: &from}, header: l.r.hdr.socket, via: KindDatagram, since: time.Now(), name: string(from.path()), socket: l.name}
	if !l.r.replace(np, cur, false, nil) {
		return false
	}
	l.who, l.whoAddr = np, &from
	return true
}

// resume makes the peer of an earlier life the peer again.
func (l *dgramListener) resume(name string) {
	if from := addrOf(name); from.named() && from.alive() {
		l.admit(from, nil)
	}
}

// A namedLink is the way to one name.
type namedLink struct {
	l    *dgramListener
	addr *rawAddr
}

// WriteBatch implements link.
func (n *namedLink) WriteBatch(frames [][]byte) (int, error) { return n.l.out.write(frames, n.addr) }

// Close implements link. The socket stays open for the next peer.
func (n *namedLink) Close() error { return nil }

// alive implements prober.
func (n *namedLink) alive([]byte) bool { return n.addr.alive() }
