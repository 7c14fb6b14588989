package dropin

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// tend looks after the guests until ctx ends: attachments of guests that have gone
// are deleted, and a shim that started anew gets the connections again.
func (d *door) tend(ctx context.Context) {
	look, tend := time.NewTicker(lookEvery), time.NewTicker(tendEvery)
	defer look.Stop()
	defer tend.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
			d.leave(ctx)
		case <-tend.C:
			if err := d.mend(ctx); ctx.Err() == nil {
				d.sore.tell(d.log, err, "shim not reached")
			}
		}
	}
}

// leave deletes the attachments of guests that have gone.
func (d *door) leave(ctx context.Context) {
	for _, g := range d.all() {
		if hungUp(g.conn) {
			d.inTurn(g.att.ContainerID, func() { d.leaves(ctx, g) })
		}
	}
}

// inTurn does something unless somebody else is at it: there will be another look.
func (d *door) inTurn(id string, do func()) {
	turn := d.turn(id)
	if turn.TryLock() {
		defer turn.Unlock()
		do()
	}
}

// leaves deletes the attachment of one guest, unless its successor has it.
func (d *door) leaves(ctx context.Context, g *guest) {
	d.mu.Lock()
	mine := d.guests[g.att.ContainerID] == g
	if mine {
		delete(d.guests, g.att.ContainerID)
	}
	d.mu.Unlock()
	if !mine {
		return
	}
	_ = g.conn.Close()
	<-d.slots
	if err := d.shim.Detach(ctx, g.att.Network, g.att.ContainerID, g.att.IfName); err != nil {
		d.logOf(g.att).WithError(err).Warn("not detached")
		return
	}
	d.logOf(g.att).Info("detached")
}

// mend compares the shim's list with ours. What came after ours was taken is left
// out: a connection that is handed over twice loses frames.
func (d *door) mend(ctx context.Context) error {
	guests := d.all()
	list, err := d.shim.Attachments(ctx)
	if err != nil {
		return err
	}
	there := map[string]shim.Attachment{}
	for _, a := range list {
		if a.Network == d.req.Network.Name && strings.HasPrefix(a.ContainerID, "mac-") {
			there[a.ContainerID] = a
		}
	}
	var errs []error
	for _, g := range guests {
		a, ok := there[g.att.ContainerID]
		delete(there, g.att.ContainerID)
		if !ok || !a.Peer.Connected {
			d.inTurn(g.att.ContainerID, func() { errs = append(errs, d.again(ctx, g)) })
		}
	}
	return errors.Join(append(errs, d.collect(ctx, there))...)
}

// again gives the shim a connection that it does not have any more.
func (d *door) again(ctx context.Context, g *guest) error {
	if !d.is(g) || hungUp(g.conn) {
		return nil
	}
	req := d.req
	req.MAC = g.att.MAC
	a, err := attachAgain(ctx, d.shim, req, g.att.ContainerID)
	if err != nil {
		return err
	}
	if err := give(ctx, d.shim, a, g.conn); err != nil {
		return err
	}
	d.logOf(a).Info("handed over again")
	return nil
}

// collect deletes attachments that an earlier door left and that have had no guest
// for a while.
func (d *door) collect(ctx context.Context, left map[string]shim.Attachment) error {
	var errs []error
	now := time.Now()
	for id := range d.lonely {
		if a, ok := left[id]; !ok || a.Peer.Connected {
			delete(d.lonely, id)
		}
	}
	for id, a := range left {
		if a.Peer.Connected || d.has(id) {
			continue
		}
		since, ok := d.lonely[id]
		if !ok {
			d.lonely[id] = now
			continue
		}
		if now.Sub(since) < goneAfter {
			continue
		}
		d.inTurn(id, func() {
			if d.has(id) {
				return // it has come in the meantime
			}
			if err := d.shim.Detach(ctx, a.Network, a.ContainerID, a.IfName); err != nil {
				errs = append(errs, err)
				return
			}
			delete(d.lonely, id)
			d.logOf(a).Info("detached: its guest has gone")
		})
	}
	return errors.Join(errs...)
}

// is reports whether a guest is still there.
func (d *door) is(g *guest) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.guests[g.att.ContainerID] == g
}

func (d *door) has(id string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.guests[id] != nil
}

// all returns the guests of this moment.
func (d *door) all() []*guest {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := make([]*guest, 0, len(d.guests))
	for _, g := range d.guests {
		list = append(list, g)
	}
	return list
}

// detachAll takes the attachments away at the end.
func (d *door) detachAll() error {
	ctx, cancel := context.WithTimeout(context.Background(), detachTime)
	defer cancel()
	var errs []error
	for _, g := range d.all() {
		errs = append(errs, g.conn.Close(), d.shim.Detach(ctx, g.att.Network, g.att.ContainerID, g.att.IfName))
	}
	return errors.Join(errs...)
}
