package vmnettest

import "sync"

// A notifier calls an event handler on a goroutine of its own, one call at a
// time. The goroutine lives while a handler is set.
type notifier struct {
	wake chan struct{} // holds one token while the handler has not been called

	mu      sync.Mutex // guards all following fields; held while joining
	stop    chan struct{}
	done    chan struct{}
	stopped bool
}

func newNotifier() *notifier { return &notifier{wake: make(chan struct{}, 1)} }

// notify has the handler called, now or after the running call.
func (n *notifier) notify() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// set replaces the handler; it waits for a running call of the old one, so that
// calls never overlap. It reports false after shut.
func (n *notifier) set(fn func()) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.stopped {
		return false
	}
	n.joinLocked()
	if fn == nil {
		return true
	}
	n.stop, n.done = make(chan struct{}), make(chan struct{})
	go n.run(fn, n.stop, n.done)
	return true
}

// shut ends the calls for good and waits for a running one.
func (n *notifier) shut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.stopped = true
	n.joinLocked()
}

func (n *notifier) joinLocked() {
	if n.stop == nil {
		return
	}
	close(n.stop)
	<-n.done
	n.stop, n.done = nil, nil
}

func (n *notifier) run(fn func(), stop <-chan struct{}, done chan<- struct{}) {
	defer close(done)
	for {
		select {
		case <-stop:
			return
		case <-n.wake:
		}
		select { // a token must not win over an end that was there before it
		case <-stop:
			n.notify()
			return
		default:
			fn()
		}
	}
}
