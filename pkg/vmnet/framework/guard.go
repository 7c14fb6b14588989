package framework

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"time"
)

// A guard runs calls that may never return.
type guard struct {
	log   func(format string, args ...any)
	hung  atomic.Int64 // abandoned and not back
	total atomic.Int64 // ever abandoned
	late  atomic.Int64 // answers nobody waited for
}

// admit returns an error when a call is not to be tried: ctx is done, or too many
// others hang.
func (g *guard) admit(ctx context.Context, call string) error {
	if n := g.hung.Load(); n >= MaxHung {
		return fmt.Errorf("%s: not tried: %d earlier calls have not returned: %w", call, n, os.ErrDeadlineExceeded)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: %w", call, err)
	}
	return nil
}

// do is run for a call that admit lets pass.
func do[T any](ctx context.Context, g *guard, call string, limit time.Duration, fn func() T, late func(T)) (T, error) {
	if err := g.admit(ctx, call); err != nil {
		var zero T
		return zero, err
	}
	return run(ctx, g, call, limit, fn, late)
}

// run has fn run on a goroutine of its own and returns what it returned. When
// limit or ctx ends first, the goroutine is abandoned: run returns an error, and
// late, if not nil, is given what fn returns when it does.
func run[T any](ctx context.Context, g *guard, call string, limit time.Duration, fn func() T, late func(T)) (T, error) {
	var zero T
	done := make(chan T)
	gone := make(chan struct{})
	go func() {
		v := fn()
		select {
		case done <- v:
		case <-gone:
			g.back(call)
			if late != nil {
				late(v)
			}
			g.hung.Add(-1)
		}
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case v := <-done:
		return v, nil
	case <-timer.C:
		g.abandon(gone)
		return zero, &HungError{Call: call, After: limit}
	case <-ctx.Done():
		g.abandon(gone)
		return zero, fmt.Errorf("%s: no answer yet: %w", call, ctx.Err())
	}
}

func (g *guard) abandon(gone chan struct{}) {
	g.hung.Add(1)
	g.total.Add(1)
	close(gone)
}

// back notes an answer that came after its caller had gone.
func (g *guard) back(call string) {
	g.late.Add(1)
	g.log("%s: answered after its caller had gone", call)
}
