package netstack

import "sync"

// events calls a device's handler on a goroutine of its own. One token says that
// frames came since the last call of the handler began.
type events struct {
	token chan struct{} // capacity 1

	mu     sync.Mutex // guards all following fields; held while a handler ends
	closed bool
	stop   chan struct{} // closed to end the running goroutine; nil: none runs
	done   chan struct{} // closed by the goroutine
}

func newEvents() *events { return &events{token: make(chan struct{}, 1)} }

// notify leaves a token. It never blocks.
func (e *events) notify() {
	select {
	case e.token <- struct{}{}:
	default:
	}
}

// set ends the calls of the handler before, waits for a running one, and starts
// those of fn unless it is nil. waiting is asked whether fn is to be called at
// once. It reports false after close.
func (e *events) set(fn func(), waiting func() bool) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return false
	}
	e.endLocked()
	if fn == nil {
		return true
	}
	// The order matters: a frame that comes after the token is taken leaves a new
	// one, and one that came before is seen by waiting.
	select {
	case <-e.token:
	default:
	}
	if waiting() {
		e.notify()
	}
	e.stop, e.done = make(chan struct{}), make(chan struct{})
	go e.loop(fn, e.stop, e.done)
	return true
}

func (e *events) loop(fn func(), stop, done chan struct{}) {
	defer close(done)
	for {
		select {
		case <-stop:
			return
		case <-e.token:
		}
		select {
		case <-stop: // both were ready: stopping wins
			return
		default:
			fn()
		}
	}
}

func (e *events) endLocked() {
	if e.stop == nil {
		return
	}
	close(e.stop)
	<-e.done
	e.stop, e.done = nil, nil
}

func (e *events) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	e.endLocked()
}
