package etcdstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/vmnet-cni/vmnet/pkg/ipam"
)

// A Store is an ipam.Store in etcd. Close it.
type Store struct {
	cfg    Config
	keys   layout
	writer chan struct{} // holds a token while a batch runs
	member *member       // nil without Config.Machine

	route   *route
	dialing chan struct{}    // a token guards the following fields
	client  *clientv3.Client // does not change once connect returned nil
	dialErr error
	dialed  time.Time

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu     sync.Mutex // guards all following fields
	queue  []*call
	closed bool
	count  Counters
}

var _ ipam.Store = (*Store)(nil)

// Counters count what a Store did since it was opened.
type Counters struct {
	Commits   uint64 // etcd transactions that wrote
	Batched   uint64 // ipam transactions in them
	Conflicts uint64 // etcd transactions that found that others were faster
	Settled   uint64 // lost answers that were found out about
	Lost      uint64 // lost answers that were not
	Reaped    uint64 // leases of dead machines that this store freed
}

// Open returns a store on the etcd cluster of cfg.Endpoints. It does not wait for
// the cluster, which may be away: what is asked of the store meanwhile ends in
// ipam.ErrUnavailable.
func Open(cfg Config) (*Store, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	ctx, cancel := context.WithCancel(context.Background())
	s := &Store{cfg: cfg, keys: layout{cfg.Prefix}, ctx: ctx, cancel: cancel,
		writer: make(chan struct{}, 1), route: newRoute(cfg.Endpoints), dialing: make(chan struct{}, 1)}
	if cfg.Username == "" {
		if err := s.dial(ctx); err != nil { // something in cfg that check lets pass
			cancel()
			return nil, fmt.Errorf("etcd: open: %w", err)
		}
	}
	if cfg.Machine != "" {
		s.member = newMember(s)
		s.wg.Go(s.member.run)
		s.wg.Go((&reaper{s: s, m: s.member}).run)
	}
	return s, nil
}

// Transact implements ipam.Store. Beside fn's errors it returns those that wrap
// ipam.ErrUnavailable, ErrTooLarge or ErrReplaced. Transactions that wait for
// one another here are written together.
func (s *Store) Transact(ctx context.Context, access ipam.Access, fn func(ipam.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.isClosed() {
		return ipam.ErrClosed
	}
	if access == ipam.ReadWrite {
		return s.write(ctx, fn)
	}
	if err := s.connect(ctx); err != nil {
		return s.readError(ctx, err)
	}
	return s.read(ctx, fn)
}

// maxCompacted is how often etcd may compact what a transaction reads.
const maxCompacted = 3

// read runs fn on a snapshot; one that etcd has compacted meanwhile is taken
// anew. Each request is bounded in time, and all by ctx.
func (s *Store) read(ctx context.Context, fn func(ipam.Tx) error) error {
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	for n := 1; ; n++ {
		snap := newSnapshot(inner, s)
		err := fn(&tx{snap: snap, access: ipam.ReadOnly})
		if snap.err == nil {
			return err
		}
		if !compacted(snap.err) || n == maxCompacted {
			return s.readError(ctx, snap.err)
		}
	}
}

// Counters returns what was counted so far.
func (s *Store) Counters() Counters {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}

func (s *Store) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// Close implements ipam.Store. The machine's leases stay, and its grace begins.
func (s *Store) Close() error {
	s.mu.Lock()
	first := !s.closed
	s.closed = true
	s.mu.Unlock()
	s.writer <- struct{}{} // after the batch under way
	defer func() { <-s.writer }()
	if !first {
		return nil
	}
	s.cancel()
	s.wg.Wait()
	if s.member != nil {
		s.member.leave()
	}
	s.dialing <- struct{}{} // its attempt has ended with s.ctx
	defer func() { <-s.dialing }()
	if s.client == nil {
		return nil
	}
	if err := s.client.Close(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}
