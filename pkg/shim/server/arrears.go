package server

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/ipam"
	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// maxStrays is how many leases are known by name that may have no attachment. With
// more, all leases are looked at.
const maxStrays = 1024

// sweepSpread is within which time after its start a shim that shares its leases
// looks for those without an attachment: to list the leases of a fleet is work for
// the store, and a fleet may start at once.
const sweepSpread = 10 * time.Minute

// Arrears are what is still to be done about leases, because the lease store was
// away when it was due.
type arrears struct {
	due chan struct{} // has a token while there is something; who made it, fills it

	mu      sync.Mutex // guards all following fields
	reclaim bool       // leases of attachments may be lost
	sweep   bool       // any of this machine's leases may have no attachment
	later   bool       // the same, but there is time
	strays  map[ipam.Key]bool
}

// owe notes what is to be done: change changes the fields.
func (a *arrears) owe(change func()) {
	a.mu.Lock()
	change()
	a.mu.Unlock()
	select {
	case a.due <- struct{}{}:
	default: // it is known that there is something
	}
}

// oweStray notes that the lease of k may have no attachment.
func (a *arrears) oweStray(k ipam.Key) {
	a.owe(func() {
		if a.strays == nil {
			a.strays = map[ipam.Key]bool{}
		}
		if len(a.strays) < maxStrays {
			a.strays[k] = true
		} else {
			a.sweep = true
		}
	})
}

// take returns what is to be done, which then is the caller's business.
func (a *arrears) take() (reclaim, sweep bool, strays map[ipam.Key]bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	reclaim, sweep, strays = a.reclaim, a.sweep, a.strays
	a.reclaim, a.sweep, a.strays = false, false, nil
	return reclaim, sweep, strays
}

// none reports whether there is nothing to be done.
func (a *arrears) none() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return !a.reclaim && !a.sweep && !a.later && len(a.strays) == 0
}

// settleArrears does what is to be done about leases, when it comes up and until it
// is done, or ctx ends.
func (s *Server) settleArrears(ctx context.Context) {
	wait := firstRetry
	for {
		select {
		case <-s.arrears.due:
		case <-ctx.Done():
			return
		}
		if s.settleOnce(ctx) == nil {
			wait = firstRetry
			continue
		}
		select {
		case <-time.After(wait):
			wait = min(2*wait, lastRetry)
		case <-ctx.Done():
			return
		}
		s.arrears.owe(func() {})
	}
}

// settleOnce tries it once. What cannot be done since the store is away is to be
// done still; other errors stay, and are told in the log.
func (s *Server) settleOnce(ctx context.Context) error {
	if err := s.leasesReady(ctx); err != nil {
		return err
	}
	reclaim, sweep, strays := s.arrears.take()
	var errs []error
	if reclaim {
		switch err := s.ReclaimLeases(ctx); { // which notes it again, if need be
		case err == nil:
		case errors.Is(err, ipam.ErrUnavailable):
			errs = append(errs, err)
		default:
			s.cfg.Log.WithError(err).Error("leases not reclaimed")
		}
	}
	if sweep {
		if err := s.findStrays(ctx); err != nil {
			errs = append(errs, err)
			s.arrears.owe(func() { s.arrears.sweep = true })
		}
	}
	for k := range strays {
		err := s.releaseStray(ctx, k)
		if errors.Is(err, ipam.ErrUnavailable) || ctx.Err() != nil {
			s.arrears.oweStray(k)
		} else if err != nil {
			s.logOf(k).WithError(err).Error("lease without attachment not released")
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// findStrays notes the leases of this machine that have no attachment now.
func (s *Server) findStrays(ctx context.Context) error {
	if s.keepStrays {
		return nil
	}
	leases, err := s.cfg.Leases.List(ctx, "")
	for _, l := range leases {
		if s.cfg.Leases.Owns(l) && s.find(caller{uid: 0}, l.Key) == nil {
			s.arrears.oweStray(l.Key)
		}
	}
	return err
}

// releaseStray releases the lease of k if it has no attachment, or the rest of one
// whose DELETE could not be done.
func (s *Server) releaseStray(ctx context.Context, k ipam.Key) error {
	unlock, err := s.keys.lock(ctx, k)
	if err != nil {
		return err
	}
	defer unlock()
	a := s.find(caller{uid: 0}, k)
	switch {
	case a == nil:
		l, err := s.cfg.Leases.Lookup(ctx, k)
		if errors.Is(err, ipam.ErrNotFound) || err == nil && !s.cfg.Leases.Owns(l) {
			return nil
		}
		if err == nil {
			err = s.cfg.Leases.Release(ctx, k)
		}
		if err == nil {
			s.logOf(k).WithField("ip", l.Addr().String()).Info("lease without attachment released")
		}
		return err
	case !a.leaving:
		return nil // it is there again
	}
	err = s.takeBack(ctx, a)
	s.replaceDetached(k, a, err)
	if err == nil {
		s.logOf(k).Info("detached at last")
		s.tell(k, a.rec.Owner, shim.EventDetached, "by", "retry")
	}
	return err
}

// settledFile is in the state directory when the last shim ended in order and owed
// the lease store nothing: all leases of this machine then have attachments.
func (s *Server) settledFile() string { return filepath.Join(s.cfg.Dirs.State, "leases-settled") }

// startSweep has the leases of a shared store looked through some time from now,
// unless the last shim left them in order.
func (s *Server) startSweep() (stop func()) {
	if !s.cfg.SharedLeases {
		return func() {}
	}
	if err := os.Remove(s.settledFile()); err == nil {
		s.late.note(s.settledFile())
		return func() {}
	}
	s.arrears.mu.Lock()
	s.arrears.later = true
	s.arrears.mu.Unlock()
	t := time.AfterFunc(rand.N(sweepSpread), func() {
		s.arrears.owe(func() { s.arrears.later, s.arrears.sweep = false, true })
	})
	return func() { t.Stop() }
}

// leaveSettled makes the file that tells the next shim that all is in order, if it is.
func (s *Server) leaveSettled() error {
	if !s.cfg.SharedLeases || !s.arrears.none() || s.unconfirmed.Load() {
		return nil
	}
	if err := os.WriteFile(s.settledFile(), nil, 0o600); err != nil {
		return fmt.Errorf("note that leases are in order: %w", err)
	}
	return nil
}
