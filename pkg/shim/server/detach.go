package server

import (
	"context"
	"errors"
	"fmt"

	"github.com/vmnet-cni/vmnet/pkg/ipam"
	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// detach deletes the attachment. One that is not there, or that the caller does
// not see, is no error: it is not there when the call returns. What could not be
// taken back durably stays in the map, so that the next DELETE tries again, as the
// server does when the lease store is back.
func (s *Server) detach(ctx context.Context, k ipam.Key, who caller) (deleted bool, err error) {
	unlock, err := s.keys.lock(ctx, k)
	if err != nil {
		return false, fmt.Errorf("attachment %s: another request is at work on it: %w", k, err)
	}
	defer unlock()
	a := s.find(who, k)
	if a == nil {
		return false, nil
	}
	if err := s.finishDetach(ctx, a); err != nil {
		return false, err
	}
	return true, nil
}

// finishDetach takes back everything of an attachment, or what an earlier try left.
// The caller holds the key's lock.
func (s *Server) finishDetach(ctx context.Context, a *attachment) error {
	err := s.takeBack(ctx, a)
	if err != nil {
		err = fmt.Errorf("detach %s: %w", a.rec.Key, err)
	}
	s.replaceDetached(a.rec.Key, a, err)
	if a.broken() {
		s.lookAgain()
	}
	return err
}

// replaceDetached takes the attachment out of the map, or puts its remains
// there.
func (s *Server) replaceDetached(k ipam.Key, a *attachment, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(a.undo) == 0 {
		delete(s.atts, k)
		return
	}
	s.atts[k] = &attachment{rec: a.rec, undo: a.undo, problem: err.Error(), leaving: true}
	s.arrears.oweStray(k)
}

// gc deletes every attachment of the network that the caller sees and that is
// not in valid. It tries all, and returns what it deleted and every error.
func (s *Server) gc(ctx context.Context, network string, valid []shim.AttachmentID, who caller) ([]shim.AttachmentID, error) {
	keep := map[shim.AttachmentID]bool{}
	for _, v := range valid {
		keep[v] = true
	}
	deleted := []shim.AttachmentID{}
	var errs []error
	for _, a := range s.visible(who) {
		id := shim.AttachmentID{ContainerID: a.rec.ContainerID, IfName: a.rec.IfName}
		if a.rec.Network != network || keep[id] {
			continue
		}
		done, err := s.detach(ctx, a.rec.Key, who)
		if err != nil {
			errs = append(errs, err)
		} else if done {
			deleted = append(deleted, id)
			s.tell(a.rec.Key, a.rec.Owner, shim.EventDetached, "by", "gc")
		}
	}
	return deleted, errors.Join(errs...)
}
