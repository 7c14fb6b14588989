package server

import (
	"context"
	"sync"

	"github.com/vmnet-cni/vmnet/pkg/ipam"
)

// A ctxLock is a mutex whose Lock can be given up.
type ctxLock chan struct{}

func newCtxLock() ctxLock { return make(ctxLock, 1) }

func (l ctxLock) lock(ctx context.Context) error {
	select {
	case l <- struct{}{}:
		return nil
	default:
	}
	select {
	case l <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l ctxLock) unlock() { <-l }

// keyLocks has one lock for each attachment's key that somebody holds or waits
// for.
type keyLocks struct {
	mu    sync.Mutex // guards locks and the users of each
	locks map[ipam.Key]*keyLock
}

type keyLock struct {
	ctxLock
	users int
}

// lock locks a key, or returns the error of ctx.
func (k *keyLocks) lock(ctx context.Context, key ipam.Key) (unlock func(), err error) {
	k.mu.Lock()
	if k.locks == nil {
		k.locks = make(map[ipam.Key]*keyLock)
	}
	l := k.locks[key]
	if l == nil {
		l = &keyLock{ctxLock: newCtxLock()}
		k.locks[key] = l
	}
	l.users++
	k.mu.Unlock()
	leave := func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		if l.users--; l.users == 0 {
			delete(k.locks, key)
		}
	}
	if err := l.lock(ctx); err != nil {
		leave()
		return nil, err
	}
	return func() {
		l.unlock()
		leave()
	}, nil
}
