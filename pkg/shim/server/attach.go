package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/google/uuid"

	"github.com/vmnet-cni/vmnet/pkg/ipam"
	"github.com/vmnet-cni/vmnet/pkg/relay"
	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// undoTime bounds taking back an attachment, after the request's own time is up.
const undoTime = 10 * time.Second

// identity is the name space of the attachments' UUIDs (RFC 9562, section 5.5).
var identity = uuid.MustParse("6f0f8a54-7c1b-5a0e-9d3f-5f4e7b1a2c90")

// interfaceID returns the UUID of an attachment's interface: always the same,
// and so is the MAC that comes from it.
func interfaceID(k ipam.Key) uuid.UUID {
	return uuid.NewSHA1(identity, []byte(k.Network+"\x00"+k.ContainerID+"\x00"+k.IfName))
}

// attach makes the attachment, or finds the one that an equal request made.
func (s *Server) attach(ctx context.Context, k ipam.Key, req shim.AttachRequest, who caller) (a *attachment, created bool, err error) {
	unlock, err := s.keys.lock(ctx, k)
	if err != nil {
		return nil, false, fmt.Errorf("attachment %s: another request is at work on it: %w", k, err)
	}
	defer unlock()
	if clientGone(ctx) {
		// Whoever comes for what it left may have been here already.
		return nil, false, fmt.Errorf("attachment %s: %w", k, context.Canceled)
	}
	s.mu.Lock()
	a = s.atts[k]
	s.mu.Unlock()
	if a != nil && a.leaving && who.may(a.rec.Owner) {
		if err := s.finishDetach(ctx, a); err != nil {
			return nil, false, err
		}
		a = nil
	}
	if a != nil {
		return s.again(ctx, a, req, who)
	}
	if err := s.headroom(k); err != nil {
		return nil, false, err
	}
	if err := s.reserve(k, who.uid); err != nil {
		return nil, false, err
	}
	a = &attachment{rec: attachmentRecord{
		Version: stateVersion, Key: k, UUID: interfaceID(k), Owner: who.uid,
		Created: time.Now().UTC(), Request: req,
	}}
	s.startHolding(a)
	if err = s.bringUp(ctx, a, nil); err == nil {
		err = s.keep(a)
	}
	if err != nil {
		if err = errors.Join(err, s.takeBack(ctx, a)); len(a.undo) > 0 {
			s.arrears.oweStray(k)
		}
		a = nil
	}
	s.settle(k, who.uid, a)
	return a, err == nil, err
}

// again answers a PUT for an attachment that exists. A broken one is tried once
// more.
func (s *Server) again(ctx context.Context, a *attachment, req shim.AttachRequest, who caller) (*attachment, bool, error) {
	if !who.may(a.rec.Owner) {
		return nil, false, shim.Errorf(shim.CodeDenied, "attachment %s: belongs to another user", a.rec.Key)
	}
	if err := compareRequests(a.rec.Request, req); err != nil {
		return nil, false, err
	}
	if a.problem == "" {
		return a, false, nil
	}
	next := &attachment{rec: a.rec, held: a.held, undo: a.undo}
	if err := s.bringUp(ctx, next, &a.rec); err != nil {
		return nil, false, errors.Join(err, s.letGo(ctx, next))
	}
	s.mu.Lock()
	s.atts[a.rec.Key] = next
	s.mu.Unlock()
	return next, false, nil
}

// takeBack undoes everything of an attachment that did not come to be.
func (s *Server) takeBack(ctx context.Context, a *attachment) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
	defer cancel()
	return a.undo.all(ctx)
}

// letGo undoes what does not outlive the shim.
func (s *Server) letGo(ctx context.Context, a *attachment) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
	defer cancel()
	return a.undo.ephemeral(ctx)
}

// bringUp makes everything of an attachment but its state file. before is the
// record of an earlier life, or nil. After an error the caller undoes what
// a.undo holds.
func (s *Server) bringUp(ctx context.Context, a *attachment, before *attachmentRecord) error {
	var granted *shim.NetworkSpec
	if before != nil {
		granted = &before.Granted
	}
	n, leave, err := s.acquire(ctx, a.rec.Request.Network, granted, a.rec.Owner)
	if err != nil {
		return err
	}
	a.undo.addLeaving("network", func(ctx context.Context) error { return leave(ctx, false) }, func(ctx context.Context) error { return leave(ctx, s.takenUp()) })
	a.net = n.open
	a.rec.Granted = n.open.granted
	if err := s.takePlace(a); err != nil {
		return err
	}
	if err := s.takeMAC(n, a); err != nil {
		return err
	}
	if err := s.takeAddress(ctx, n, a, before); err != nil {
		return err
	}
	if err := s.startInterface(ctx, a); err != nil {
		return err
	}
	if err := replug(ctx, a); err != nil {
		return err
	}
	if err := s.startRelay(a); err != nil {
		return err
	}
	if err := s.resumePeers(a); err != nil {
		return fmt.Errorf("attachment %s: take over: %w", a.rec.Key, err)
	}
	if err := s.bindSockets(a); err != nil {
		return err
	}
	if err := setRules(ctx, a); err != nil {
		return err
	}
	if err := s.setNames(a); err != nil {
		return err
	}
	if err := s.startForwards(ctx, a); err != nil {
		return err
	}
	s.followDevice(a)
	if before != nil {
		s.takenOver(a)
		s.announce(a)
	}
	return nil
}

// takeMAC makes sure that nobody else in the network has the MAC.
func (s *Server) takeMAC(n *network, a *attachment) error {
	mac := a.rec.Request.MAC
	if mac == "" {
		mac = vmnet.MACFromUUID(a.rec.UUID).String()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if by, ok := n.macs[mac]; ok {
		return &shim.Error{Code: shim.CodeConflict, Key: "mac", Value: mac, Message: fmt.Sprintf("mac %q: another attachment of network %s has it%s", mac, n.name, s.byLocked(by, a.rec.Owner))}
	}
	if mac == vmnet.GatewayMAC(n.name).String() {
		return &shim.Error{Code: shim.CodeConflict, Key: "mac", Value: mac, Message: fmt.Sprintf("mac %q: is the gateway's", mac)}
	}
	n.macs[mac] = a.rec.Key
	a.rec.MAC = mac
	a.undo.add("mac", func(context.Context) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(n.macs, mac)
		return nil
	})
	return nil
}

// byLocked names an attachment if the user may see it. The caller holds mu.
func (s *Server) byLocked(k ipam.Key, uid uint32) string {
	if a := s.atts[k]; a != nil && (uid == 0 || a.rec.Owner == uid) {
		return ": " + k.String()
	}
	return ""
}

func (s *Server) startInterface(ctx context.Context, a *attachment) error {
	mac, err := net.ParseMAC(a.rec.MAC)
	if err != nil {
		return err
	}
	files, err := s.deviceFiles(a)
	if err != nil {
		return fmt.Errorf("attachment %s: %w", a.rec.Key, err)
	}
	dev, err := a.net.Start(ctx, vmnet.Config{
		UUID: a.rec.UUID, MAC: mac, Tap: a.direct(), VnetHeader: a.headers(), Files: files, Limited: a.rec.Request.Bandwidth.IngressRate > 0,
	})
	if err != nil {
		return fmt.Errorf("attachment %s: start interface: %w", a.rec.Key, err)
	}
	a.dev, a.ifc = dev, vmnet.NewInterface(a.rec.Network, dev)
	ifc := a.ifc
	a.undo.addLeaving("interface", func(context.Context) error { return ifc.Close() }, func(context.Context) error {
		if s.takenUp() {
			return ifc.Leave()
		}
		return ifc.Close()
	})
	// A driver may give another MAC than it was asked for: what it says counts.
	a.rec.MAC = ifc.MAC().String()
	if a.rec.Addr6.IsValid() {
		// What is not there yet is looked for again when the guest asks.
		a.router, _ = findRouter(ctx, a)
	}
	return nil
}

// threadsFor returns how many relays of such devices may wait in the kernel.
func (s *Server) threadsFor(d vmnet.Device) *relay.Threads {
	if _, ok := d.(vmnet.Cooperative); ok {
		return new(relay.Threads) // none
	}
	return &s.threads
}

func (s *Server) startRelay(a *attachment) error {
	stages, err := stagesOf(a)
	if err != nil {
		return err
	}
	log, k, held := s.logOf(a.rec.Key), a.rec.Key, a.held
	hold := func(c syscall.Conn) func() { return held.keepPeer(fileCaller, c) }
	header := a.rec.Request.VnetHeader
	r, err := relay.New(a.ifc, relay.Config{Stages: stages, Header: header, Threads: s.threadsFor(a.dev), Limits: limitsOf(a.rec.Request.Bandwidth), Hold: hold, Gone: s.peerGone(k), OnPeer: func(e relay.PeerEvent) {
		log := log.WithField("via", e.Via)
		s.notePeer(k, e)
		if e.Err != nil {
			log = log.WithError(e.Err)
		}
		if e.Connected {
			log.Info("guest connected")
			s.tell(a.rec.Key, a.rec.Owner, shim.EventGuest, "via", e.Via)
		} else {
			log.Info("guest gone")
			s.tell(a.rec.Key, a.rec.Owner, shim.EventGuestGone, "via", e.Via, "error", errorText(e.Err))
		}
	}})
	if err != nil {
		return fmt.Errorf("attachment %s: start relay: %w", a.rec.Key, err)
	}
	a.relay, a.asked = r, new(atomic.Int64)
	a.undo.add("relay", func(context.Context) error {
		p := r.Peer()
		err := r.Close()
		if !p.Connected && !p.Gone.IsZero() {
			s.notePeer(k, relay.PeerEvent{At: p.Gone}) // the relay says nothing while it closes
		}
		return err
	})
	return nil
}

// keep writes the attachment's state file: from here on it exists.
func (s *Server) keep(a *attachment) error {
	file := s.state.attachmentFile(a.rec.Key)
	s.addRecordUndo(a)
	if err := replaceJSON(file, a.rec); err != nil {
		return fmt.Errorf("attachment %s: keep its state: %w", a.rec.Key, err)
	}
	s.late.note(file)
	return nil
}

// addRecordUndo makes the state file go with the attachment.
func (s *Server) addRecordUndo(a *attachment) {
	file := s.state.attachmentFile(a.rec.Key)
	a.undo.addDurable("state file", func(context.Context) error {
		s.late.note(file)
		return errors.Join(remove(file), s.forgetDamage(a.rec.Key))
	})
}
