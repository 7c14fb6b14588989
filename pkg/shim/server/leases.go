package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/ipam"
	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// getLeases lists what the lease store has: all of it for root, else what belongs
// to the caller's attachments.
func (s *Server) getLeases(w http.ResponseWriter, r *http.Request, who caller) error {
	network := r.URL.Query().Get("network")
	if network != "" {
		if err := shim.CheckNetwork(network); err != nil {
			return err
		}
	}
	leases, err := s.cfg.Leases.List(r.Context(), network)
	if err != nil {
		return leaseError(err)
	}
	list := []shim.Lease{}
	for _, l := range leases {
		attached := s.cfg.Leases.Owns(l) && s.find(who, l.Key) != nil
		if !attached && who.uid != 0 {
			continue
		}
		list = append(list, shim.Lease{
			Network: l.Network, ContainerID: l.ContainerID, IfName: l.IfName, Addrs: l.Addrs, MAC: l.MAC,
			StickyKey: l.StickyKey, Created: l.Created, Machine: l.Machine, Early: l.Early, Attached: attached,
		})
	}
	return writeJSONBody(w, http.StatusOK, list)
}

// readyWait is how long a lease store may take that is ready: less than the
// plugin's STATUS waits for the shim.
const readyWait = time.Second

// leasesReady returns an error of key ipam if the lease store does not answer.
func (s *Server) leasesReady(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, readyWait)
	defer cancel()
	err := s.cfg.Leases.Ready(bounded)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		err = fmt.Errorf("leases: no answer within %s: %w", readyWait, ipam.ErrUnavailable)
	}
	return err
}

// deleteLease releases a lease without an attachment. Only who may change
// everything here can tell that nobody uses it.
func (s *Server) deleteLease(w http.ResponseWriter, r *http.Request, who caller) error {
	k, err := keyOf(r)
	if err != nil {
		return err
	}
	if !who.may(s.uid) {
		return shim.Errorf(shim.CodeDenied, "release lease %s: only root and the user of the shim may", k)
	}
	unlock, err := s.keys.lock(r.Context(), k)
	if err != nil {
		return fmt.Errorf("attachment %s: another request is at work on it: %w", k, err)
	}
	defer unlock()
	release := s.cfg.Leases.Release
	if machine := r.URL.Query().Get("machine"); machine != "" {
		if who.uid != 0 {
			return shim.Errorf(shim.CodeDenied, "release lease %s of machine %q: only root may", k, machine)
		}
		release = func(ctx context.Context, k ipam.Key) error { return s.cfg.Leases.ReleaseOf(ctx, machine, k) }
	}
	if s.find(caller{uid: 0}, k) != nil {
		return shim.Errorf(shim.CodeConflict, "release lease %s: an attachment has it; delete that", k)
	}
	if err := release(r.Context(), k); err != nil {
		return leaseError(err)
	}
	s.logOf(k).Info("lease released by request")
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// ReclaimLeases makes the leases of all attachments again that the store may have
// lost or given away, as after a time in which it could not be reached. What is
// there is left as it is. Where the store is away again, the server goes on when it
// is back.
func (s *Server) ReclaimLeases(ctx context.Context) error {
	err := s.reclaimLeases(ctx)
	if errors.Is(err, ipam.ErrUnavailable) || ctx.Err() != nil {
		s.arrears.owe(func() { s.arrears.reclaim = true })
	} else {
		s.unconfirmed.Store(false)
	}
	return err
}

func (s *Server) reclaimLeases(ctx context.Context) error {
	s.mu.Lock()
	var keys []ipam.Key
	for k := range s.atts {
		keys = append(keys, k)
	}
	s.mu.Unlock()
	var errs []error
	for _, k := range keys {
		unlock, err := s.keys.lock(ctx, k)
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		if a := s.find(caller{uid: 0}, k); a != nil && !a.leaving {
			errs = append(errs, s.registerLease(ctx, a.rec))
		}
		unlock()
	}
	return errors.Join(errs...)
}
