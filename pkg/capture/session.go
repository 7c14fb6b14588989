package capture

import (
	"context"
	"encoding/binary"
	"sync"
	"time"
)

// Defaults and bounds of a Config.
const (
	DefaultSnapLen = 256 << 10 // bytes of a frame
	DefaultQueue   = 4 << 20   // bytes
	minQueue       = 64 << 10
	maxQueue       = 64 << 20
)

// Config says what a Session takes.
type Config struct {
	// Name is the interface's in the capture.
	Name string
	// Filter chooses frames. Nil: all.
	Filter *Filter
	// SnapLen is how many bytes of a frame are kept. Zero: DefaultSnapLen.
	SnapLen int
	// Queue is the room for frames that wait to be written, in bytes; what finds
	// none is lost. Zero: DefaultQueue.
	Queue int
}

// A Session takes copies of frames until Run ends. It implements relay.Tee.
type Session struct {
	cfg   Config
	ready chan struct{} // has a token when the queue may not be empty

	mu       sync.Mutex
	buf      []byte // a ring of records: a header of recordLen bytes, and the frame
	head     int    // where the oldest record begins
	used     int    // bytes
	seen     uint64 // frames that the filter chose
	lost     uint64 // frames of them that found no room
	lostHere uint64 // of them, since the last that found room
}

// recordLen is the length of a record's header: time in ns, bytes on the way, bytes
// kept, frames lost before it, direction.
const recordLen = 8 + 4 + 4 + 8 + 1

// New returns a session that waits for frames.
func New(cfg Config) *Session {
	if cfg.SnapLen <= 0 {
		cfg.SnapLen = DefaultSnapLen
	}
	if cfg.Queue <= 0 {
		cfg.Queue = DefaultQueue
	}
	cfg.Queue = min(max(cfg.Queue, minQueue), maxQueue)
	return &Session{cfg: cfg, ready: make(chan struct{}, 1), buf: make([]byte, cfg.Queue)}
}

// Frame takes a copy of frame, or counts it as lost when there is no room. It does
// not wait for the writer.
func (s *Session) Frame(toGuest bool, frame []byte) {
	if !s.cfg.Filter.Match(frame, len(frame)) {
		return
	}
	now := time.Now().UnixNano()
	kept := frame[:min(len(frame), s.cfg.SnapLen)]
	s.mu.Lock()
	s.seen++
	need := recordLen + len(kept)
	if len(s.buf)-s.used < need {
		s.lost++
		s.lostHere++
		s.mu.Unlock()
		return
	}
	var h [recordLen]byte
	binary.LittleEndian.PutUint64(h[:], uint64(now))
	binary.LittleEndian.PutUint32(h[8:], uint32(len(frame)))
	binary.LittleEndian.PutUint32(h[12:], uint32(len(kept)))
	binary.LittleEndian.PutUint64(h[16:], s.lostHere)
	if toGuest {
		h[24] = 1
	}
	s.lostHere = 0
	s.put(h[:])
	s.put(kept)
	s.mu.Unlock()
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

// put appends to the ring; the caller holds mu and has checked for room.
func (s *Session) put(b []byte) {
	at := (s.head + s.used) % len(s.buf)
	n := copy(s.buf[at:], b)
	copy(s.buf, b[n:])
	s.used += len(b)
}

// A record is one frame of a capture.
type record struct {
	when    time.Time
	size    int // bytes that were on the way
	lost    uint64
	toGuest bool
	data    []byte // valid until the next take
}

// take removes the oldest record; scratch is reused for its data.
func (s *Session) take(scratch []byte) (r record, _ []byte, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used == 0 {
		return r, scratch, false
	}
	var h [recordLen]byte
	s.get(h[:])
	n := int(binary.LittleEndian.Uint32(h[12:]))
	if cap(scratch) < n {
		scratch = make([]byte, n)
	}
	scratch = scratch[:n]
	s.get(scratch)
	return record{
		when: time.Unix(0, int64(binary.LittleEndian.Uint64(h[:]))), size: int(binary.LittleEndian.Uint32(h[8:])),
		lost: binary.LittleEndian.Uint64(h[16:]), toGuest: h[24] == 1, data: scratch,
	}, scratch, true
}

// get removes bytes from the ring; the caller holds mu.
func (s *Session) get(b []byte) {
	n := copy(b, s.buf[s.head:])
	copy(b[n:], s.buf)
	s.head = (s.head + len(b)) % len(s.buf)
	s.used -= len(b)
}

// Counts returns how many frames the filter chose, and how many of them were lost.
func (s *Session) Counts() (seen, lost uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen, s.lost
}

// next waits for a record. flush is called before it has to wait.
func (s *Session) next(ctx context.Context, scratch []byte, flush func() error) (record, []byte, error) {
	for {
		r, scratch, ok := s.take(scratch)
		if ok {
			return r, scratch, nil
		}
		if err := ctx.Err(); err != nil {
			return r, scratch, err
		}
		if err := flush(); err != nil {
			return r, scratch, err
		}
		select {
		case <-s.ready:
		case <-ctx.Done(): // what came in the meantime is taken first
		}
	}
}
