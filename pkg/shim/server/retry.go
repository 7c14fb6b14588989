package server

import (
	"context"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// How long the server waits before it tries again to bring back what could not be
// brought back: twice as long after each time.
const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = time.Minute
)

// retryBroken tries to bring back the attachments that restore could not, until
// there are none or ctx ends: what was in the way, a device that was still busy, may
// be gone, and the guest waits. None become broken later. Drivers sweep when theirs are
// back.
func (s *Server) retryBroken(ctx context.Context) {
	for wait := firstRetry; len(s.broken()) > 0; wait = min(2*wait, lastRetry) {
		select {
		case <-time.After(wait):
		case <-s.fewer:
		case <-ctx.Done():
			return
		}
		for _, a := range s.broken() {
			if ctx.Err() == nil {
				s.retry(ctx, a)
			}
		}
		s.sweep(ctx)
	}
	s.sweep(ctx)
}

// lookAgain has retryBroken look now whether any are left.
func (s *Server) lookAgain() {
	select {
	case s.fewer <- struct{}{}:
	default: // it is about to
	}
}

// broken reports whether the attachment waits to be brought back.
func (a *attachment) broken() bool { return a.relay == nil && a.problem != "" && !a.leaving }

// broken returns the attachments that wait to be brought back.
func (s *Server) broken() (list []*attachment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.atts {
		if a.broken() {
			list = append(list, a)
		}
	}
	return list
}

// retry tries one attachment again, as an equal PUT would.
func (s *Server) retry(ctx context.Context, a *attachment) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Limits.Operation)
	defer cancel()
	k := a.rec.Key
	log := s.logOf(k)
	unlock, err := s.keys.lock(ctx, k)
	if err != nil {
		return // a request is at work on it
	}
	defer unlock()
	s.mu.Lock()
	same := s.atts[k] == a
	s.mu.Unlock()
	if !same {
		return // deleted, or brought back by a PUT
	}
	if _, _, err := s.again(ctx, a, a.rec.Request, caller{a.rec.Owner}); err != nil {
		log.WithError(err).Debug("attachment still cannot be brought back")
		return
	}
	log.Info("attachment brought back")
	s.tell(k, a.rec.Owner, shim.EventRestored)
}
