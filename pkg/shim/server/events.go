package server

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/ipam"
	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// eventQueue is how many events wait for the reader of a stream; what finds no room
// is counted, and told as shim.EventLost.
const eventQueue = 256

// dropsEvery is how often streams of events look for bursts of drops, and dropsMany
// what makes one, in frames.
const (
	dropsEvery = time.Second
	dropsMany  = 100
)

// An eventHub gives events to those who listen. The zero value is ready.
type eventHub struct {
	mu   sync.Mutex
	subs map[*subscriber]struct{}
}

// A subscriber is one stream of events.
type subscriber struct {
	who  caller
	ch   chan shim.Event
	lost int // guarded by the hub's mu
}

// publish gives e to all who may see what belongs to owner, and waits for none of
// them.
func (h *eventHub) publish(e shim.Event, owner uint32) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.subs {
		if !s.who.may(owner) {
			continue
		}
		if s.lost > 0 {
			l := shim.Event{Time: e.Time, Type: shim.EventLost, Detail: map[string]string{"lost": strconv.Itoa(s.lost)}}
			select {
			case s.ch <- l:
				s.lost = 0
			default:
			}
		}
		select {
		case s.ch <- e:
		default:
			s.lost++
		}
	}
}

func (h *eventHub) subscribe(who caller) *subscriber {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.subs == nil {
		h.subs = map[*subscriber]struct{}{}
	}
	s := &subscriber{who: who, ch: make(chan shim.Event, eventQueue)}
	h.subs[s] = struct{}{}
	return s
}

func (h *eventHub) unsubscribe(s *subscriber) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.subs, s)
}

// replayTime is for how long after its start a shim tells new readers what came
// back: those of the shim before have lost their streams with it.
const replayTime = time.Minute

// A comeback is what became of an attachment that an earlier shim had.
type comeback struct {
	event shim.Event
	owner uint32
	kept  int // descriptors
}

// cameBack notes what became of an attachment of an earlier shim, with kept
// descriptors.
func (s *Server) cameBack(r attachmentRecord, kind string, kept int, details ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.returns = append(s.returns, comeback{newEvent(r.Key, kind, details...), r.Owner, kept})
}

// greeting returns the first events of a stream: who serves it and what came back
// at its start.
func (s *Server) greeting(who caller) []shim.Event {
	s.mu.Lock()
	all := s.returns
	s.mu.Unlock()
	count := map[string]int{}
	events := make([]shim.Event, 1)
	for _, c := range all {
		if !who.may(c.owner) {
			continue
		}
		count[c.event.Type]++
		count["kept"] += c.kept
		if time.Since(s.started) < replayTime {
			events = append(events, c.event)
		}
	}
	events[0] = newEvent(ipam.Key{}, shim.EventShim, "version", s.cfg.Version, "pid", strconv.Itoa(os.Getpid()),
		"started", s.started.UTC().Format(time.RFC3339Nano))
	for what, n := range count {
		events[0].Detail[what] = strconv.Itoa(n)
	}
	return events
}

// tell publishes an event about an attachment; details are names and values.
func (s *Server) tell(k ipam.Key, owner uint32, kind string, details ...string) {
	s.events.publish(newEvent(k, kind, details...), owner)
}

// newEvent returns an event; details are names and values.
func newEvent(k ipam.Key, kind string, details ...string) shim.Event {
	e := shim.Event{Time: time.Now(), Type: kind, Network: k.Network, ContainerID: k.ContainerID, IfName: k.IfName}
	for i := 0; i+1 < len(details); i += 2 {
		if details[i+1] == "" {
			continue
		}
		if e.Detail == nil {
			e.Detail = map[string]string{}
		}
		e.Detail[details[i]] = details[i+1]
	}
	return e
}

// getEvents streams events as lines of JSON.
func (s *Server) getEvents(w http.ResponseWriter, r *http.Request, who caller) error {
	return s.stream(w, r, "application/x-ndjson", func(ctx context.Context, w io.Writer, flush func() error) error {
		sub := s.events.subscribe(who)
		defer s.events.unsubscribe(sub)
		enc := json.NewEncoder(w)
		send := func(e shim.Event) error {
			if err := enc.Encode(e); err != nil {
				return err
			}
			return flush()
		}
		for _, e := range s.greeting(who) {
			if err := send(e); err != nil {
				return err
			}
		}
		watch := s.watchDrops(who)
		tick := time.NewTicker(dropsEvery)
		defer tick.Stop()
		for {
			var err error
			select {
			case e := <-sub.ch:
				err = send(e)
			case <-tick.C:
				for _, e := range watch() {
					if err = send(e); err != nil {
						break
					}
				}
			case <-ctx.Done():
				if s.live.Err() == nil {
					return nil // the client has enough
				}
				return send(shim.Event{Time: time.Now(), Type: shim.EventShimLeaves})
			}
			if err != nil {
				return err
			}
		}
	})
}

// watchDrops returns a function that tells which attachments dropped many frames
// since it was called last.
func (s *Server) watchDrops(who caller) func() []shim.Event {
	before := map[ipam.Key]uint64{}
	look := func() (events []shim.Event) {
		now := map[ipam.Key]uint64{}
		for _, a := range s.visible(who) {
			if a.relay == nil {
				continue
			}
			st := a.relay.Stats()
			var sum uint64
			worst, most := "", uint64(0)
			for _, d := range []map[string]uint64{st.FromGuest.Drops, st.ToGuest.Drops} {
				for reason, n := range d {
					if sum += n; n > most {
						worst, most = reason, n
					}
				}
			}
			k := a.rec.Key
			now[k] = sum
			if old := min(before[k], sum); sum-old >= dropsMany { // a new one begins at zero
				events = append(events, shim.Event{
					Time: time.Now(), Type: shim.EventDrops, Network: k.Network, ContainerID: k.ContainerID, IfName: k.IfName,
					Detail: map[string]string{"frames": strconv.FormatUint(sum-old, 10), "reason": worst},
				})
			}
		}
		before = now
		return events
	}
	look() // what was dropped before is old
	return look
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
