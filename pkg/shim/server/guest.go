package server

import (
	"context"
	"fmt"

	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// A guestID is what the interfaces of one guest have in common. Container IDs of
// different users may be the same.
type guestID struct {
	driver, containerID string
	owner               uint32
}

// takePlace refuses an interface that a guest has too many of for its driver. The
// driver cannot: it does not know the guests.
func (s *Server) takePlace(a *attachment) error {
	driver := a.net.granted.Driver
	limited, ok := s.cfg.Drivers[driver].(vmnet.GuestLimiter)
	if !ok {
		return nil
	}
	id := guestID{driver, a.rec.ContainerID, a.rec.Owner}
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.guests[id]; n >= limited.MaxGuestInterfaces() {
		return &shim.Error{Code: shim.CodeExhausted, Key: "containerID", Value: id.containerID,
			Message: fmt.Sprintf("containerID %q: has %d interfaces of driver %s, which allows no more for one guest", id.containerID, n, driver)}
	}
	s.guests[id]++
	a.undo.add("place", func(context.Context) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.guests[id]--; s.guests[id] == 0 {
			delete(s.guests, id)
		}
		return nil
	})
	return nil
}
