package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sync/errgroup"

	"github.com/vmnet-cni/vmnet/pkg/ipam"
	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// restoreAtOnce is how many attachments are brought back at the same time.
const restoreAtOnce = 8

// restore brings back what the state directory holds. What cannot be brought
// back is told in problems and stays listed. An error means that the state
// directory as such cannot be used.
func (s *Server) restore(ctx context.Context) error {
	if err := s.state.prepare(); err != nil {
		return err
	}
	nets, damaged, err := load[networkRecord](s.state.networks())
	if err != nil {
		return err
	}
	s.problem(damageTexts(damaged)...)
	for _, n := range nets {
		s.choices[n.Granted.Name] = n
	}
	recs, damaged, err := load[attachmentRecord](s.state.attachments())
	if err != nil {
		return err
	}
	if recs, err = s.matchLeases(ctx, damaged, recs); err != nil {
		return err
	}
	if err := errors.Join(s.clearSockets(recs), s.clearPeers(recs)); err != nil {
		return err
	}
	defer s.dropOrphans()
	var g errgroup.Group
	g.SetLimit(restoreAtOnce)
	for _, rec := range recs {
		g.Go(func() error {
			s.revive(ctx, rec)
			return nil
		})
	}
	return g.Wait()
}

// matchLeases brings records and leases together, and returns the records with those
// that were made again. While the lease store is away attachments come back all the
// same: what is left is done when it is back.
func (s *Server) matchLeases(ctx context.Context, damaged []damage, recs []attachmentRecord) ([]attachmentRecord, error) {
	err := s.leasesReady(ctx)
	if errors.Is(err, ipam.ErrUnavailable) {
		s.problem(damageTexts(damaged)...)
	} else {
		recs, err = s.matchNow(ctx, damaged, recs)
	}
	if !errors.Is(err, ipam.ErrUnavailable) {
		return recs, err
	}
	s.cfg.Log.WithError(err).Warn("leases are not confirmed")
	s.unconfirmed.Store(true)
	s.keepStrays = len(damaged) > 0
	s.arrears.owe(func() { s.arrears.reclaim, s.arrears.sweep = true, true })
	return recs, nil
}

func (s *Server) matchNow(ctx context.Context, damaged []damage, recs []attachmentRecord) ([]attachmentRecord, error) {
	made, unknown, err := s.rebuild(ctx, damaged, recs)
	if err != nil {
		return recs, err
	}
	recs = append(recs, made...)
	s.keepStrays = unknown > 0
	if !s.cfg.SharedLeases || s.keepStrays { // else see startSweep
		if err := s.releaseStrays(ctx, recs, s.keepStrays); err != nil {
			return recs, err
		}
	}
	return recs, s.registerLeases(ctx, recs)
}

// revive brings one attachment back, or lists it as broken.
func (s *Server) revive(ctx context.Context, rec attachmentRecord) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Limits.Operation)
	defer cancel()
	before, kept := rec, len(s.left(rec.Key))
	a := &attachment{rec: rec}
	s.startHolding(a)
	s.addDurableUndos(a)
	log := s.logOf(rec.Key)
	if err := s.bringUp(ctx, a, &before); err != nil {
		if uerr := s.letGo(ctx, a); uerr != nil {
			log.WithError(uerr).Warn("not everything could be cleaned up")
		}
		a = &attachment{rec: before, held: a.held, undo: a.undo, problem: err.Error()}
		log.WithError(err).Warn("attachment could not be brought back")
		s.cameBack(rec, shim.EventBroken, 0, "error", err.Error())
	} else {
		log.WithField("kept", kept).Info("attachment brought back")
		s.cameBack(rec, shim.EventRestored, kept, "kept", strconv.Itoa(kept))
	}
	s.mu.Lock()
	s.atts[rec.Key] = a
	s.mu.Unlock()
}

// addDurableUndos gives an attachment the undos of the steps that an earlier
// shim did.
func (s *Server) addDurableUndos(a *attachment) {
	k := a.rec.Key
	a.undo.addDurable("lease", func(ctx context.Context) error { return s.cfg.Leases.Release(ctx, k) })
	s.addRecordUndo(a)
}

// releaseStrays releases the leases of attachments that never came to be, since
// the shim died between the lease and the state file, or that were being
// deleted. When a state file is damaged a lease without one may be its, and
// stays: an address too few is better than one given twice.
func (s *Server) releaseStrays(ctx context.Context, recs []attachmentRecord, damaged bool) error {
	known := map[ipam.Key]bool{}
	for _, r := range recs {
		known[r.Key] = true
	}
	leases, err := s.cfg.Leases.List(ctx, "")
	if err != nil {
		return err
	}
	for _, l := range leases {
		switch {
		case known[l.Key], !s.cfg.Leases.Owns(l):
		case damaged:
			s.problem(fmt.Sprintf("lease %s of %s has no attachment; it may be that of a damaged state file", l.Addr(), l.Key))
		default:
			if err := s.cfg.Leases.Release(ctx, l.Key); err != nil {
				return err
			}
			s.logOf(l.Key).WithField("ip", l.Addr().String()).Info("lease without attachment released")
		}
	}
	return nil
}

// registerLeases makes leases again that the store has lost, before anybody else
// can be given their addresses. Its error is that the store is away.
func (s *Server) registerLeases(ctx context.Context, recs []attachmentRecord) error {
	for _, r := range recs {
		err := s.registerLease(ctx, r)
		if errors.Is(err, ipam.ErrUnavailable) {
			return err
		}
		if err != nil {
			s.problem(err.Error())
		}
	}
	return nil
}

func (s *Server) registerLease(ctx context.Context, r attachmentRecord) error {
	if len(r.addrs()) == 0 || r.Granted.IPAM == shim.IPAMStatic {
		return nil
	}
	// Which addresses the system keeps is known when the network is open; those
	// of leases are not among them.
	pools := r.pools(netip.Addr{})
	req := leaseRequest(&r, pools)
	req.Want = r.addrs()
	_, err := s.cfg.Leases.Allocate(ctx, req)
	if err != nil {
		return fmt.Errorf("lease %s of attachment %s: %w", r.addrs(), r.Key, err)
	}
	return nil
}

// clearSockets removes the sockets of attachments that are no more, which a
// killed shim left behind.
func (s *Server) clearSockets(recs []attachmentRecord) error {
	known := map[string]bool{}
	for _, r := range recs {
		for _, kind := range []string{shim.FramesDgram, shim.FramesStream} {
			known[filepath.Base(s.cfg.Dirs.Socket(r.Network, r.ContainerID, r.IfName, kind))] = true
		}
	}
	entries, err := os.ReadDir(s.cfg.Dirs.Sockets())
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Type() != fs.ModeSocket || known[e.Name()] {
			continue
		}
		if err := remove(filepath.Join(s.cfg.Dirs.Sockets(), e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// problem notes what an operator should know.
func (s *Server) problem(texts ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range texts {
		s.cfg.Log.Warn(t)
		s.problems = append(s.problems, t)
	}
}
