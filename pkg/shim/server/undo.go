package server

import (
	"context"
	"errors"
	"fmt"
)

// An undo takes back one step of an attachment.
type undo struct {
	step    string // for messages: "lease", "relay"
	durable bool   // the step outlives the shim
	run     func(context.Context) error
	leave   func(context.Context) error // the same while the attachment stays; nil: run
}

// undoList holds the undos of the steps done so far, in their order. It is
// guarded by the lock of the attachment's key.
type undoList []undo

// add appends the undo of a step that is gone when the shim ends.
func (l *undoList) add(step string, run func(context.Context) error) {
	*l = append(*l, undo{step: step, run: run})
}

// addLeaving appends the undo of a step of which something can stay in the system for
// the attachment to come back to.
func (l *undoList) addLeaving(step string, run, leave func(context.Context) error) {
	*l = append(*l, undo{step: step, run: run, leave: leave})
}

// addDurable appends the undo of a step that outlives the shim.
func (l *undoList) addDurable(step string, run func(context.Context) error) {
	*l = append(*l, undo{step: step, durable: true, run: run})
}

// all takes back every step, the last one first, whatever fails. Durable steps
// that failed stay in the list for another try; others have nothing left to try.
func (l *undoList) all(ctx context.Context) error { return l.take(ctx, false) }

// ephemeral takes back the steps that do not outlive the shim; the attachment stays.
func (l *undoList) ephemeral(ctx context.Context) error { return l.take(ctx, true) }

func (l *undoList) take(ctx context.Context, stays bool) error {
	var kept undoList
	var errs []error
	for i := len(*l) - 1; i >= 0; i-- {
		u := (*l)[i]
		if u.durable && stays {
			kept = append(kept, u)
			continue
		}
		run := u.run
		if stays && u.leave != nil {
			run = u.leave
		}
		if err := run(ctx); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", u.step, err))
			if u.durable {
				kept = append(kept, u)
			}
		}
	}
	*l = (*l)[:0]
	for i := len(kept) - 1; i >= 0; i-- {
		*l = append(*l, kept[i])
	}
	return errors.Join(errs...)
}
