package shim

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/handover"
)

// UpgradeFrames is the protocol that POST …/frames upgrades to: the exchange of
// package handover, with the shim as giver.
const UpgradeFrames = "vmnet-frames"

// UpgradeGive is the protocol that POST …/frames upgrades to when the client has
// the frame fd: the same exchange, with the client as giver.
const UpgradeGive = "vmnet-give"

// switching is the status of an answer that changes the protocol (RFC 9110,
// section 15.2.2).
const switching = 101

// Frames asks for a new frame fd of an attachment, of the kind that the
// attachment was made with. It replaces the one given before. The caller closes
// the file.
func (c *Client) Frames(ctx context.Context, network, containerID, ifname string) (handover.Message, *os.File, error) {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	var m handover.Message
	var f *os.File
	path := attachmentPath(network, containerID, ifname) + "/frames"
	err := c.retry(ctx, about("frames", network, containerID, ifname), func(answered *atomic.Bool) (err error) {
		m, f, err = c.framesOnce(ctx, path, answered)
		return err
	})
	return m, f, err
}

// Give makes f, whose other end a guest has, the frame fd of the attachment a. It
// replaces the one before. f is a connected unix socket, datagram or stream,
// whichever kind the attachment was made with, or a datagram socket with a name and
// no peer, to which guests send. It stays the caller's; the shim has a duplicate.
func (c *Client) Give(ctx context.Context, a Attachment, f *os.File) error {
	kind, err := handover.Kind(f)
	if err != nil {
		return Errorf(CodeInvalid, "%s: %v", about("give", a.Network, a.ContainerID, a.IfName), err)
	}
	m := handover.Message{
		Network: a.Network, ContainerID: a.ContainerID, IfName: a.IfName, Kind: kind,
		MAC: a.MAC, MTU: a.MTU, MaxFrameSize: a.MaxFrameSize, Offload: a.Offload, VnetHeader: a.VnetHeader, IPs: []string{},
	}
	for _, ip := range a.IPs {
		m.IPs = append(m.IPs, ip.Address.String())
	}
	ctx, cancel := c.bound(ctx)
	defer cancel()
	path := attachmentPath(a.Network, a.ContainerID, a.IfName) + "/frames"
	return c.retry(ctx, about("give", a.Network, a.ContainerID, a.IfName), func(answered *atomic.Bool) error {
		return c.upgraded(ctx, path, UpgradeGive, answered, func(conn *net.UnixConn) error {
			return handover.Send(ctx, conn, m, f)
		})
	})
}

func (c *Client) framesOnce(ctx context.Context, path string, answered *atomic.Bool) (m handover.Message, f *os.File, err error) {
	err = c.upgraded(ctx, path, UpgradeFrames, answered, func(conn *net.UnixConn) (err error) {
		if m, f, err = handover.Receive(ctx, conn); err != nil {
			return err
		}
		if err := handover.Answer(ctx, conn, nil); err != nil {
			return errors.Join(err, f.Close())
		}
		attached(conn)
		return nil
	})
	return m, f, err
}

// attachedWait bounds how long attached waits.
const attachedWait = 5 * time.Second

// attached returns when the shim, which closes the connection then, has made the
// descriptor the attachment's: so what others send to a guest that gets it now is not
// lost. A shim that dies here has had its end kept before, and the next goes on.
func attached(conn *net.UnixConn) {
	_ = conn.SetReadDeadline(time.Now().Add(attachedWait)) // fails on a closed connection only, as does the read
	_, _ = conn.Read(make([]byte, 1))
}

// upgraded makes a connection, upgrades it to protocol and has do use it.
func (c *Client) upgraded(ctx context.Context, path, protocol string, answered *atomic.Bool, do func(*net.UnixConn) error) error {
	conn, err := dial(ctx, c.addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	resp, err := upgrade(conn, path, protocol)
	if err != nil {
		return errors.Join(ctx.Err(), err)
	}
	answered.Store(true)
	if resp.status != switching {
		if err := decodeAnswer(resp, nil); err != nil {
			return err
		}
		return Errorf(CodeInternal, "%s: answer with status %s, want 101", protocol, resp.text)
	}
	return do(conn)
}

// upgrade sends the request and reads the head of the answer, and not a byte
// more: the kernel drops a file descriptor whose byte is read with read(2), so
// no buffered reader may come near this connection (unix(7), SCM_RIGHTS).
func upgrade(conn *net.UnixConn, path, protocol string) (*response, error) {
	_, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: shim\r\nConnection: Upgrade\r\nUpgrade: %s\r\nContent-Length: 0\r\n\r\n", path, protocol)
	if err != nil {
		return nil, err
	}
	var head []byte
	var b [1]byte
	for !bytes.HasSuffix(head, []byte("\r\n\r\n")) {
		if len(head) == maxHead {
			return nil, fmt.Errorf("head of the answer has more than %d bytes", maxHead)
		}
		if _, err := io.ReadFull(conn, b[:]); err != nil {
			return nil, err
		}
		head = append(head, b[0])
	}
	// Only a refusal has a body; a buffered reader does no harm to that.
	return readResponse(bufio.NewReader(io.MultiReader(bytes.NewReader(head), conn)))
}
