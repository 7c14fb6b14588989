package netstack

import (
	"sync/atomic"
	"time"
)

// A macKey is a MAC address as a number, first octet in bits 40 to 47.
type macKey uint64

const groupBit macKey = 1 << 40 // the I/G bit of the first octet

func keyOf(b []byte) macKey {
	_ = b[5]
	return macKey(b[0])<<40 | macKey(b[1])<<32 | macKey(b[2])<<24 |
		macKey(b[3])<<16 | macKey(b[4])<<8 | macKey(b[5])
}

// linkLocalGroup reports whether k is one of 01-80-C2-00-00-00 to -0F, which a
// bridge must not forward (IEEE 802.1Q, 8.6.3): spanning tree, pause, LLDP.
func linkLocalGroup(k macKey) bool { return k&^0x0f == 0x0180c2000000 }

// An entry says on which port an address is.
type entry struct {
	port  *port
	fixed bool         // the address that the device was started with
	seen  atomic.Int64 // unix seconds of a recent frame from it
}

// A table is the switch's knowledge, immutable but for entry.seen. Forwarding
// reads it without a lock; changes replace it whole.
type table struct {
	macs  map[macKey]*entry
	ports []*port
}

// clone returns a copy to change.
func (t *table) clone() *table {
	c := &table{macs: make(map[macKey]*entry, len(t.macs)+1), ports: append([]*port(nil), t.ports...)}
	for k, e := range t.macs {
		c.macs[k] = e
	}
	return c
}

// addPort puts p with its fixed address into the table. It reports false when
// another device has that address.
func (s *fabric) addPort(p *port) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.table.Load()
	old := t.macs[p.mac]
	if p.mac == s.gatewayMAC || old != nil && old.fixed {
		return false
	}
	c := t.clone()
	if old != nil {
		old.port.learned.Add(-1)
	}
	c.macs[p.mac] = &entry{port: p, fixed: true}
	p.learned.Add(1)
	c.ports = append(c.ports, p)
	s.table.Store(c)
	return true
}

// removePort takes p and every address on it out of the table. Frames on their
// way to it find its queue closed.
func (s *fabric) removePort(p *port) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.table.Load()
	c := &table{macs: make(map[macKey]*entry, len(t.macs))}
	for k, e := range t.macs {
		if e.port != p {
			c.macs[k] = e
		}
	}
	for _, q := range t.ports {
		if q != p {
			c.ports = append(c.ports, q)
		}
	}
	s.table.Store(c)
	s.switched.Add(p.switched.Load())
	s.flooded.Add(p.flooded.Load())
	s.toGateway.Add(p.toGateway.Load())
}

// learn notes that src is on p and returns the table to go on with. It reports
// false when the frame is to be dropped: its source cannot be on p.
func (s *fabric) learn(t *table, p *port, src macKey, now time.Time) (*table, bool) {
	e := t.macs[src]
	if e != nil && e.port == p {
		// Written at most once a second, so that the entry stays in every core's
		// cache.
		if sec := now.Unix(); e.seen.Load() != sec {
			e.seen.Store(sec)
		}
		return t, true
	}
	if src&groupBit != 0 || src == s.gatewayMAC || e != nil && e.fixed {
		s.count.drop(BadSource)
		return t, false
	}
	if int(p.learned.Load()) >= s.limits.MACsPerPort || !p.learnRate.AllowN(now, 1) {
		s.count.drop(LearnLimit)
		return t, true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t = s.table.Load()
	if e = t.macs[src]; e != nil {
		if e.fixed || e.port == p {
			return t, e.port == p
		}
		e.port.learned.Add(-1)
	}
	c := t.clone()
	ne := &entry{port: p}
	ne.seen.Store(now.Unix())
	c.macs[src] = ne
	p.learned.Add(1)
	s.table.Store(c)
	return c, true
}

// age forgets addresses that were silent for longer than the limit.
func (s *fabric) age(now time.Time) {
	oldest := now.Add(-s.limits.MACAge).Unix()
	old := func(e *entry) bool { return !e.fixed && e.seen.Load() < oldest }
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.table.Load()
	var c *table
	for k, e := range t.macs {
		if !old(e) {
			continue
		}
		if c == nil {
			c = t.clone()
		}
		delete(c.macs, k)
		e.port.learned.Add(-1)
	}
	if c != nil {
		s.table.Store(c)
	}
}
