package server

import "time"

// startIdle begins to watch for idleness.
func (s *Server) startIdle() {
	if s.cfg.IdleExit <= 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.idle = time.AfterFunc(s.cfg.IdleExit, func() {
		select {
		case s.idled <- struct{}{}:
		default:
		}
	})
}

func (s *Server) stopIdle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.idle != nil {
		s.idle.Stop()
	}
}

// armLocked starts the time anew. It is called at the end of every request, so
// the timer can only run out when nothing was asked for as long; whether there
// are attachments is looked at then. The caller holds mu.
func (s *Server) armLocked() {
	if s.idle != nil {
		s.idle.Reset(s.cfg.IdleExit)
	}
}

// isIdle reports whether nothing is to be done, and arms the timer if not.
func (s *Server) isIdle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.isIdleLocked()
}

func (s *Server) isIdleLocked() bool {
	if s.active > 0 || s.making > 0 || len(s.atts) > 0 {
		s.armLocked()
		return false
	}
	return true
}

// leaveIfIdle makes up the shim's mind: after true no request is taken.
func (s *Server) leaveIfIdle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leaving = s.isIdleLocked()
	return s.leaving
}

func (s *Server) setHanding() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leaving, s.handing = true, true
}

func (s *Server) setLeaving() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leaving = true
}
