package relay

import (
	"time"

	"golang.org/x/sys/unix"
)

// keep puts what is left of frame after off bytes, its prefix counted, into tail,
// and has it sent as soon as the peer takes it, whether or not another frame
// comes. The caller holds mu.
func (w *streamWriter) keep(frame []byte, off int) {
	if w.tailBuf == nil {
		w.tailBuf = make([]byte, prefixLen+w.s.max)
	}
	n := putPrefix(w.tailBuf, len(frame))
	n += copy(w.tailBuf[n:], frame)
	w.tail = w.tailBuf[off:n]
	if !w.flusher {
		w.flusher = true
		w.late.Go(w.flush)
	}
}

// whole implements wholeWriter. It also waits for a write under way.
func (p *streamPort) whole(wait time.Duration) {
	for end := time.Now().Add(wait); p.out.begun() && time.Now().Before(end); {
		time.Sleep(minPause)
	}
}

// begun reports whether the peer may have a part of a frame only.
func (w *streamWriter) begun() bool {
	if !w.mu.TryLock() {
		return true // somebody writes
	}
	defer w.mu.Unlock()
	return len(w.tail) > 0
}

// flush sends tail from a goroutine of its own, which waits without a thread while
// the peer takes nothing, and ends when tail is sent or the port is closed.
func (w *streamWriter) flush() {
	_ = w.s.raw.Write(func(fd uintptr) bool { // fails when the port is closed
		w.mu.Lock()
		defer w.mu.Unlock()
		for len(w.tail) > 0 {
			n, e := w.vec.sendBytes(int(fd), w.tail)
			if e == unix.EAGAIN {
				return false
			}
			if e != 0 {
				break // the reader, or the next write, says it
			}
			w.tail = w.tail[n:]
		}
		w.flusher = false
		return true
	})
}
