package server

import (
	"fmt"
	"net/http"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/ipam"
	"github.com/vmnet-cni/vmnet/pkg/shim"
)

func (s *Server) getStatus(w http.ResponseWriter, _ *http.Request, who caller) error {
	st := shim.Status{
		Version: s.cfg.Version, PID: os.Getpid(), UptimeSeconds: time.Since(s.started).Seconds(),
		Goroutines: runtime.NumGoroutine(), Drivers: s.driverNames(),
		RuntimeDir: s.cfg.Dirs.Runtime, StateDir: s.cfg.Dirs.State, Kept: s.cfg.Files != nil,
	}
	if s.cfg.Keeper != nil {
		st.Keeper = s.cfg.Keeper()
	}
	atts := s.visible(who)
	st.Attachments = len(atts)
	st.Networks = len(networksOf(atts))
	if who.may(s.uid) {
		s.mu.Lock()
		st.Problems = slices.Clone(s.problems)
		s.mu.Unlock()
		if p := s.keeperProblem(); p != "" {
			st.Problems = append(st.Problems, p)
		}
	}
	for _, a := range atts {
		if a.problem != "" {
			st.Problems = append(st.Problems, fmt.Sprintf("attachment %s is broken: %s", a.rec.Key, a.problem))
		}
	}
	return writeJSONBody(w, http.StatusOK, st)
}

func (s *Server) getNetworks(w http.ResponseWriter, r *http.Request, who caller) error {
	list := []shim.Network{}
	for _, group := range networksOf(s.visible(who)) {
		n, err := s.networkView(r.Context(), group)
		if err != nil {
			return err
		}
		list = append(list, n)
	}
	return writeJSONBody(w, http.StatusOK, list)
}

func (s *Server) getNetwork(w http.ResponseWriter, r *http.Request, who caller) error {
	name := r.PathValue("network")
	if err := shim.CheckNetwork(name); err != nil {
		return err
	}
	// Who asks wants to know whether it can have attachments.
	if err := s.leasesReady(r.Context()); err != nil {
		return err
	}
	for _, group := range networksOf(s.visible(who)) {
		if group[0].rec.Network == name {
			n, err := s.networkView(r.Context(), group)
			if err != nil {
				return err
			}
			return writeJSONBody(w, http.StatusOK, n)
		}
	}
	return noNetwork(name)
}

func (s *Server) getAttachments(w http.ResponseWriter, _ *http.Request, who caller) error {
	list := []shim.Attachment{}
	for _, a := range s.visible(who) {
		list = append(list, s.view(a))
	}
	return writeJSONBody(w, http.StatusOK, list)
}

func (s *Server) getAttachment(w http.ResponseWriter, r *http.Request, who caller) error {
	k, err := keyOf(r)
	if err != nil {
		return err
	}
	a := s.find(who, k)
	if a == nil {
		return notFound(k)
	}
	return writeJSONBody(w, http.StatusOK, s.examine(r.Context(), a))
}

func (s *Server) putAttachment(w http.ResponseWriter, r *http.Request, who caller) error {
	k, err := keyOf(r)
	if err != nil {
		return err
	}
	var req shim.AttachRequest
	if err := readBody(r, &req); err != nil {
		return err
	}
	if err := normalize(k, &req); err != nil {
		return err
	}
	start := time.Now()
	a, created, err := s.attach(r.Context(), k, req, who)
	if err != nil {
		return err
	}
	if !created {
		return writeJSONBody(w, http.StatusOK, s.view(a))
	}
	took := time.Since(start)
	s.tell(k, a.rec.Owner, shim.EventAttached, "mac", a.rec.MAC, "ip", texts(a.rec.addrs()), "driver", a.rec.Granted.Driver)
	if err = writeJSONBody(w, http.StatusCreated, s.view(a)); err == nil {
		flush(w)
	}
	s.logOf(k).WithField("mac", a.rec.MAC).WithField("ip", texts(a.rec.addrs())).
		WithField("took", took.Round(time.Microsecond).String()).Info("attached")
	return err
}

// flush sends what was answered, so that the client need not wait for what is left to
// do. An error is that of a client that is gone.
func flush(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() }

func (s *Server) deleteAttachment(w http.ResponseWriter, r *http.Request, who caller) error {
	k, err := keyOf(r)
	if err != nil {
		return err
	}
	start := time.Now()
	owner := who.uid
	if a := s.find(who, k); a != nil {
		owner = a.rec.Owner
	}
	deleted, err := s.detach(r.Context(), k, who)
	if err != nil {
		return err
	}
	took := time.Since(start)
	if deleted {
		s.tell(k, owner, shim.EventDetached)
	}
	w.WriteHeader(http.StatusNoContent)
	flush(w)
	if deleted {
		s.logOf(k).WithField("took", took.Round(time.Microsecond).String()).Info("detached")
	}
	return nil
}

func (s *Server) postGC(w http.ResponseWriter, r *http.Request, who caller) error {
	name := r.PathValue("network")
	if err := shim.CheckNetwork(name); err != nil {
		return err
	}
	var req shim.GCRequest
	if err := readBody(r, &req); err != nil {
		return err
	}
	if req.Valid == nil {
		return shim.Invalidf("valid", "", "want a list of attachments to keep; an empty one deletes all")
	}
	deleted, err := s.gc(r.Context(), name, req.Valid, who)
	for _, d := range deleted {
		k := ipam.Key{Network: name, ContainerID: d.ContainerID, IfName: d.IfName}
		s.logOf(k).Info("detached by gc")
	}
	if err != nil {
		return err
	}
	return writeJSONBody(w, http.StatusOK, shim.GCResult{Deleted: deleted})
}
