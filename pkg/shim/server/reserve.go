package server

import (
	"github.com/vmnet-cni/vmnet/pkg/ipam"
	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// reserve counts an attachment that a user is about to make.
func (s *Server) reserve(k ipam.Key, uid uint32) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.atts) + s.making; n >= s.cfg.Limits.Attachments {
		return shim.Errorf(shim.CodeExhausted, "attachment %s: this shim has %d attachments, its limit", k, n)
	}
	if uid != 0 && uid != s.uid {
		if err := s.fitsLocked(k, uid); err != nil {
			return err
		}
	}
	s.making++
	s.makingBy[uid]++
	return nil
}

// fitsLocked keeps one of many users from taking everything. The caller holds mu.
func (s *Server) fitsLocked(k ipam.Key, uid uint32) error {
	count, nets := s.makingBy[uid], map[string]bool{k.Network: true}
	for other, a := range s.atts {
		if a.rec.Owner == uid {
			count++
			nets[other.Network] = true
		}
	}
	if limit := s.cfg.Limits.UserAttachments; count >= limit {
		return shim.Errorf(shim.CodeExhausted, "attachment %s: user %d has %d attachments, its limit", k, uid, count)
	}
	if limit := max(1, s.cfg.Limits.Networks/4); len(nets)+s.makingBy[uid] > limit {
		return shim.Errorf(shim.CodeExhausted, "network %s: user %d has %d networks, its limit", k.Network, uid, limit)
	}
	return nil
}

// settle ends what reserve began; a is nil when there is no attachment.
func (s *Server) settle(k ipam.Key, uid uint32, a *attachment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.making--
	if s.makingBy[uid]--; s.makingBy[uid] == 0 {
		delete(s.makingBy, uid)
	}
	if a != nil {
		s.atts[k] = a
	}
}
