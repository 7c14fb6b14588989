package etcdstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"math"
	mrand "math/rand/v2"
	"slices"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/ipam"
)

// maxBatch is how many transactions are written together, at most: more than a
// machine starts guests at once, and with some 6 changes each far below maxOps.
const maxBatch = 32

// Waits between attempts, each a random time up to a bound that doubles.
const (
	firstWait = time.Millisecond
	lastWait  = 128 * time.Millisecond
)

// A call is a transaction that waits to be written, or is being.
type call struct {
	fn   func(ipam.Tx) error
	done chan struct{} // closed when err is set
	err  error
}

func (c *call) finish(err error) {
	c.err = err
	close(c.done)
}

// write puts a call into the queue and waits until it is done, by this goroutine
// or by the one that has the token, which takes all that wait.
func (s *Store) write(ctx context.Context, fn func(ipam.Tx) error) error {
	c := &call{fn: fn, done: make(chan struct{})}
	s.mu.Lock()
	s.queue = append(s.queue, c)
	s.mu.Unlock()
	for {
		select {
		case <-c.done:
			return c.err
		default:
		}
		select {
		case <-c.done:
			return c.err
		case <-ctx.Done():
			if s.withdraw(c) {
				return ctx.Err()
			}
			<-c.done // begun: bounded by Config.Timeout
			return c.err
		case s.writer <- struct{}{}:
			s.serve()
		}
	}
}

// withdraw takes a call out of the queue, unless it has begun.
func (s *Store) withdraw(c *call) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.queue, c)
	if i < 0 {
		return false
	}
	s.queue = slices.Delete(s.queue, i, i+1)
	return true
}

// serve runs the calls that wait longest, and gives the token back.
func (s *Store) serve() {
	defer func() { <-s.writer }()
	if !s.isClosed() {
		s.run(s.take(maxBatch))
		return
	}
	for _, c := range s.take(math.MaxInt) {
		c.finish(ipam.ErrClosed)
	}
}

// take takes the calls out of the queue that wait longest, n at most.
func (s *Store) take(n int) []*call {
	s.mu.Lock()
	defer s.mu.Unlock()
	n = min(len(s.queue), n)
	batch := slices.Clone(s.queue[:n])
	s.queue = slices.Delete(s.queue, 0, n)
	return batch
}

// run writes a batch. One that is too large is written call by call.
func (s *Store) run(batch []*call) {
	if len(batch) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.Timeout)
	errs, err := s.attempts(ctx, batch, nil)
	cancel()
	if errors.Is(err, ErrTooLarge) && len(batch) > 1 {
		for _, c := range batch {
			s.run([]*call{c})
		}
		return
	}
	if errors.Is(err, ipam.ErrUnavailable) {
		// Who waited meanwhile shall not wait as long again.
		batch = append(batch, s.take(math.MaxInt)...)
	}
	for i, c := range batch {
		if err != nil {
			c.finish(err)
		} else {
			c.finish(errs[i])
		}
	}
}

// attempts runs a batch until it is committed. errs are the errors of the calls'
// functions, each of which left nothing; err is the batch's. extra are further
// conditions of the commit.
func (s *Store) attempts(ctx context.Context, batch []*call, extra []guard) (errs []error, err error) {
	if err := s.connect(ctx); err != nil {
		return nil, s.storeError(err)
	}
	var snap *snapshot
	wait := firstWait
	for n := 1; ; n++ {
		if snap == nil {
			snap = s.snapshot(ctx)
		}
		var cs changes
		cs, errs, err = apply(snap, batch)
		if err == nil && len(cs) == 0 {
			return errs, nil
		}
		out := refused
		var fresh *snapshot
		if err == nil {
			out, fresh, err = s.commit(ctx, snap, cs, extra)
		} else if compacted(err) {
			out, err = conflict, nil
		}
		switch out {
		case committed:
			s.counted(func(c *Counters) { c.Commits++; c.Batched += uint64(len(batch)) })
			return errs, nil
		case conflict:
			s.counted(func(c *Counters) { c.Conflicts++ })
		default:
			return nil, s.storeError(err)
		}
		snap = fresh
		if n == fairAfter && len(cs) > 0 {
			defer s.turn(ctx, cs.first())()
			snap = nil // the turn took a while
			continue
		}
		// Whose turn it is does not wait: who comes new must not always be faster.
		if n > 1 && n < fairAfter || snap == nil {
			if !sleep(ctx, mrand.N(wait)) {
				return nil, s.storeError(fmt.Errorf("%d attempts, and others were faster each time: %w", n, ctx.Err()))
			}
			wait = min(2*wait, lastWait)
		}
	}
}

func (s *Store) snapshot(ctx context.Context) *snapshot {
	snap := newSnapshot(ctx, s)
	snap.keepRuns = true
	return snap
}

// maxRounds bounds how often apply runs the functions to find out what they want.
// An allocation wants records that depend on others it read four times in a row.
const maxRounds = 8

// apply runs the calls' functions, one after the other, on the snapshot. So that
// etcd is not asked for one record after the other, a function that wants one
// that is not there yet ends; what all of them miss is fetched in one request,
// and they run again, until nothing is missing. err is etcd's.
func apply(snap *snapshot, batch []*call) (cs changes, errs []error, err error) {
	defer func() { snap.missing = nil }()
	for range maxRounds {
		snap.missing = map[string]int64{}
		cs, errs, err = runAll(snap, batch)
		if err != nil || len(snap.missing) == 0 {
			return cs, errs, err
		}
		if err := snap.fetch(); err != nil {
			return nil, nil, err
		}
	}
	snap.missing = nil
	return runAll(snap, batch)
}

func runAll(snap *snapshot, batch []*call) (cs changes, errs []error, err error) {
	cs = changes{}
	for _, c := range batch {
		t := &tx{snap: snap, access: ipam.ReadWrite, changes: maps.Clone(cs)}
		err := c.fn(t)
		if snap.err != nil {
			return nil, nil, snap.err
		}
		errs = append(errs, err)
		if err == nil {
			cs = t.changes
		}
	}
	return cs, errs, nil
}

// commit writes the changes. It finds out what became of lost commits, as long
// as ctx lasts. err is nil unless out is unknown or refused.
func (s *Store) commit(ctx context.Context, snap *snapshot, cs changes, extra []guard) (out outcome, fresh *snapshot, err error) {
	guards := slices.Clone(extra)
	if s.member != nil {
		g, err := s.member.guard(ctx)
		if err != nil {
			return refused, nil, err
		}
		guards = append(guards, g)
	}
	if err := snap.begin(); err != nil {
		return refused, nil, err
	}
	c, err := newCommit(rand.Text(), snap, cs, guards)
	if err != nil {
		return refused, nil, err
	}
	out, fresh, err = c.do(ctx)
	if out != unknown {
		return out, fresh, err
	}
	settleErr := s.route.persist(ctx, snap.wait, func(ctx context.Context) (err error) {
		out, err = c.settle(ctx, rand.Text())
		return err
	})
	if settleErr == nil {
		s.counted(func(c *Counters) { c.Settled++ })
		return out, nil, nil
	}
	s.counted(func(c *Counters) { c.Lost++ })
	return unknown, nil, fmt.Errorf("answer lost, the change may have been made: %w", errors.Join(err, settleErr))
}

func (s *Store) counted(add func(*Counters)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	add(&s.count)
}
