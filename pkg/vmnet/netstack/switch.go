package netstack

import (
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// maxBatch is the longest batch of frames that is moved under one lock.
const maxBatch = 128

// A port is a guest's side of the switch.
type port struct {
	mac       macKey // the device's own address
	queue     *queue
	events    *events
	flood     *rate.Limiter
	learnRate *rate.Limiter
	learned   atomic.Int32 // addresses in the table, guarded against going wrong by fabric.mu

	// Written by the one writer of the device, read by anybody.
	switched, flooded, toGateway atomic.Uint64

	// out collects consecutive frames for one port; used by the writer only.
	out   [maxBatch]*frame
	outN  int
	outTo *port

	gro inbound // the writer's way into the gateway
}

// A fabric is the switch of one network.
type fabric struct {
	limits     Limits
	isolated   bool
	offload    bool      // guests leave checksums to us
	gatewayMAC macKey    // 0: no gateway
	gateway    *endpoint // nil: no gateway
	count      *counters
	pool       framePool
	gwFlood    *rate.Limiter // bounds what the gateway floods

	mu    sync.Mutex // serialises changes of table
	table atomic.Pointer[table]

	// What ports counted that are gone.
	switched, flooded, toGateway atomic.Uint64
}

func newFabric(l Limits, isolated, offload bool, c *counters) *fabric {
	s := &fabric{
		limits:   l,
		isolated: isolated,
		offload:  offload,
		count:    c,
		// The gateway floods one ARP request for each neighbour that it looks for.
		gwFlood: rate.NewLimiter(rate.Limit(l.FloodRate), l.FloodBurst),
	}
	s.table.Store(&table{macs: map[macKey]*entry{}})
	return s
}

func (s *fabric) newPort(mac macKey) *port {
	l := s.limits
	return &port{
		mac:       mac,
		queue:     newQueue(l.QueueFrames, l.QueueBytes),
		events:    newEvents(),
		flood:     rate.NewLimiter(rate.Limit(l.FloodRate), l.FloodBurst),
		learnRate: rate.NewLimiter(rate.Limit(l.LearnRate), max(l.LearnRate, l.MACsPerPort)),
	}
}

// input switches frames that the guest at p sent. One goroutine at a time calls
// it for a port. Frames are at least vmnet.HeaderLen bytes long.
func (s *fabric) input(p *port, frames [][]byte) {
	now := time.Now()
	t := s.table.Load()
	for _, f := range frames {
		var ok bool
		if t, ok = s.learn(t, p, keyOf(f[6:12]), now); !ok {
			continue
		}
		s.forward(t, p, f, now)
	}
	s.flush(p)
	p.gro.flush()
}

func (s *fabric) forward(t *table, p *port, f []byte, now time.Time) {
	dst := keyOf(f[0:6])
	if dst&groupBit != 0 {
		s.flushAndFlood(t, p, f, dst, now)
		return
	}
	if dst == s.gatewayMAC && s.gateway != nil {
		p.toGateway.Add(1)
		s.gateway.input(&p.gro, f, false)
		return
	}
	if s.isolated {
		s.count.drop(Isolated)
		return
	}
	e := t.macs[dst]
	switch {
	case e == nil:
		s.flushAndFlood(t, p, f, dst, now)
	case e.port == p:
		s.count.drop(SamePort)
	default:
		if p.outTo != e.port || p.outN == len(p.out) {
			s.flush(p)
			p.outTo = e.port
		}
		p.out[p.outN] = s.copyOf(f)
		p.outN++
	}
}

// copyOf returns a frame of a guest for another one.
func (s *fabric) copyOf(b []byte) *frame {
	f := s.pool.copyOf(b)
	if s.offload {
		finishChecksum(f.bytes())
	}
	return f
}

// flush hands the collected frames to their port.
func (s *fabric) flush(p *port) {
	if p.outN == 0 {
		return
	}
	s.deliver(p.outTo, p.out[:p.outN])
	p.switched.Add(uint64(p.outN))
	clear(p.out[:p.outN])
	p.outN, p.outTo = 0, nil
}

// deliver puts frames into the queue of to. What finds no room is dropped there.
func (s *fabric) deliver(to *port, frames []*frame) {
	taken, closed := to.queue.push(frames)
	if taken > 0 {
		to.events.notify()
	}
	if taken == len(frames) {
		return
	}
	reason := QueueFull
	if closed {
		reason = PortGone
	}
	s.count.dropN(reason, len(frames)-taken)
	for _, f := range frames[taken:] {
		s.pool.put(f)
	}
}

// flushAndFlood sends f to every port but p's, and to the gateway when it is for
// a group, keeping the order with what was collected before.
func (s *fabric) flushAndFlood(t *table, p *port, f []byte, dst macKey, now time.Time) {
	s.flush(p)
	if linkLocalGroup(dst) {
		s.count.drop(Reserved)
		return
	}
	if !p.flood.AllowN(now, 1) {
		s.count.drop(FloodLimit)
		return
	}
	p.flooded.Add(1)
	if dst&groupBit != 0 && s.gateway != nil {
		s.gateway.input(&p.gro, f, true)
	}
	if s.isolated {
		return
	}
	s.floodTo(t, p, f)
}

func (s *fabric) floodTo(t *table, from *port, f []byte) {
	var one [1]*frame
	for _, to := range t.ports {
		if to != from {
			one[0] = s.copyOf(f)
			s.deliver(to, one[:])
		}
	}
}

// output switches frames of the gateway, all to the same destination. It takes
// them over. Any goroutine may call it.
func (s *fabric) output(dst macKey, frames []*frame) {
	s.count.fromGateway.Add(uint64(len(frames)))
	t := s.table.Load()
	if e := t.macs[dst]; e != nil && dst&groupBit == 0 {
		s.deliver(e.port, frames)
		return
	}
	for _, f := range frames {
		if s.gwFlood.Allow() {
			s.floodTo(t, nil, f.bytes())
		} else {
			s.count.drop(FloodLimit)
		}
		s.pool.put(f)
	}
}

func (s *fabric) fill(st *Stats) {
	t := s.table.Load()
	st.Ports, st.MACs = len(t.ports), len(t.macs)
	st.Switched, st.Flooded, st.ToGateway = s.switched.Load(), s.flooded.Load(), s.toGateway.Load()
	for _, p := range t.ports {
		st.Switched += p.switched.Load()
		st.Flooded += p.flooded.Load()
		st.ToGateway += p.toGateway.Load()
	}
}

// checkFrame returns why a frame cannot be sent, or nil.
func checkFrame(f []byte, maxSize int) error {
	switch {
	case len(f) < vmnet.HeaderLen:
		return vmnet.InvalidArgument
	case len(f) > maxSize:
		return vmnet.PacketTooBig
	}
	return nil
}
