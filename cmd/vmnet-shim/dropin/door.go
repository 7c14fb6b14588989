package dropin

import (
	"context"
	"errors"
	"hash/fnv"
	"net"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// Bounds of a door.
const (
	maxConns   = 1024                   // connections at once; more wait in the backlog
	lookEvery  = 250 * time.Millisecond // for guests that have gone
	tendEvery  = 2 * time.Second        // for attachments that lost their guest
	goneAfter  = 5 * time.Second        // a guest of an earlier door without a peer
	detachTime = 10 * time.Second       // for deleting attachments at the end
	pauseAfter = 100 * time.Millisecond // when accepting fails
)

// A door is the listening socket of socket_vmnet: it makes an attachment of every
// connection and hands the connection to the shim.
type door struct {
	shim *shim.Client
	req  shim.AttachRequest
	log  *logrus.Logger

	turns [64]sync.Mutex // of one guest, one thing is done at a time; taken before mu

	slots  chan struct{}        // one for each connection
	lonely map[string]time.Time // attachments of an earlier door, since when without a peer; of tend alone
	sore   sore                 // of tend alone

	mu     sync.Mutex
	guests map[string]*guest // by container ID
}

// A guest is a connection that the shim has.
type guest struct {
	conn *net.UnixConn // our duplicate, which tells when the guest has gone
	att  shim.Attachment
}

func newDoor(c *shim.Client, req shim.AttachRequest, log *logrus.Logger) *door {
	return &door{
		shim: c, req: req, log: log,
		guests: map[string]*guest{}, lonely: map[string]time.Time{}, slots: make(chan struct{}, maxConns),
	}
}

// serve accepts until ctx ends, and then takes everything away.
func (d *door) serve(ctx context.Context, l *net.UnixListener) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { d.tend(ctx) })
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	err := d.accept(ctx, l, &wg)
	stop()
	cancel()
	wg.Wait()
	return errors.Join(err, d.detachAll())
}

func (d *door) accept(ctx context.Context, l *net.UnixListener, wg *sync.WaitGroup) error {
	var sore sore
	for {
		select {
		case d.slots <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		c, err := l.AcceptUnix()
		switch {
		case err == nil:
			sore.tell(d.log, nil, "connection not accepted")
			wg.Go(func() { d.welcome(ctx, c) })
			continue
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		}
		<-d.slots
		sore.tell(d.log, err, "connection not accepted")
		select {
		case <-time.After(pauseAfter):
		case <-ctx.Done():
		}
	}
}

// welcome waits for the guest's first frame and makes the attachment. The slot is
// free again when it fails or the guest goes.
func (d *door) welcome(ctx context.Context, c *net.UnixConn) {
	mac, err := peekMAC(ctx, c)
	if err == nil {
		err = d.attach(ctx, c, mac)
	}
	if err != nil {
		if ctx.Err() == nil {
			d.log.WithError(err).Warn("connection closed")
		}
		_ = c.Close()
		<-d.slots
	}
}

// turn returns what whoever attaches or deletes a container holds meanwhile: a guest
// that comes again at once is not taken for the one that has gone. Few containers
// share one.
func (d *door) turn(id string) *sync.Mutex {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id)) // never fails
	return &d.turns[h.Sum32()%uint32(len(d.turns))]
}

// attach makes the attachment of the guest with this MAC, and hands its connection
// over. An older connection of the same guest ends.
func (d *door) attach(ctx context.Context, c *net.UnixConn, mac net.HardwareAddr) error {
	req := d.req
	req.MAC = mac.String()
	id := containerID(mac)
	turn := d.turn(id)
	turn.Lock()
	defer turn.Unlock()
	a, err := attachAgain(ctx, d.shim, req, id)
	if err == nil {
		err = give(ctx, d.shim, a, c)
	} else if ctx.Err() == nil {
		return err
	}
	if err != nil { // also when ctx has ended and nobody knows how far the shim came
		return errors.Join(err, detach(ctx, d.shim, shim.Attachment{Network: req.Network.Name, ContainerID: id, IfName: ifname}))
	}
	d.mu.Lock()
	old := d.guests[id]
	d.guests[id] = &guest{c, a}
	d.mu.Unlock()
	if old != nil {
		_ = old.conn.Close()
		<-d.slots
	}
	d.logOf(a).Info("attached")
	return nil
}

// attachAgain attaches, in the place of an attachment that was made with other
// options.
func attachAgain(ctx context.Context, c *shim.Client, req shim.AttachRequest, id string) (shim.Attachment, error) {
	a, err := c.Attach(ctx, req.Network.Name, id, ifname, req)
	if shim.CodeOf(err) != shim.CodeConflict {
		return a, err
	}
	if err := c.Detach(ctx, req.Network.Name, id, ifname); err != nil {
		return a, err
	}
	return c.Attach(ctx, req.Network.Name, id, ifname, req)
}

// ifname is the interface name of every attachment of these programs.
const ifname = "eth0"

// containerID names a guest by its MAC.
func containerID(mac net.HardwareAddr) string {
	return "mac-" + mac.String()[:2] + mac.String()[3:5] + mac.String()[6:8] + mac.String()[9:11] + mac.String()[12:14] + mac.String()[15:]
}

// give hands a duplicate of the connection to the shim.
func give(ctx context.Context, c *shim.Client, a shim.Attachment, conn *net.UnixConn) error {
	f, err := conn.File()
	if err != nil {
		return err
	}
	return errors.Join(c.Give(ctx, a, f), f.Close())
}

func (d *door) logOf(a shim.Attachment) *logrus.Entry {
	e := d.log.WithFields(logrus.Fields{"network": a.Network, "containerID": a.ContainerID, "ifname": a.IfName, "mac": a.MAC})
	if len(a.IPs) > 0 {
		e = e.WithField("ip", a.IPs[0].Address.Addr().String())
	}
	return e
}
