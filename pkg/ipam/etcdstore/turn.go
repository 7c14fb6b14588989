package etcdstore

import (
	"context"
	"fmt"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// fairAfter is after how many conflicts a batch queues up for its network.
const fairAfter = 3

// turn waits for the turn of this process among those that queue up to write a
// network, and returns what ends it. Without it, many writers at once mostly
// undo each other's attempts. It is advice only: who does not get a turn in half
// the time there is goes on without, and the commit's comparisons alone see to it
// that nothing is lost.
//
// The queue is the network's keys below t/, by age. Each waits for the one before
// it, so that the end of a turn wakes one process and not all. A key goes with a
// lease of its own, should its process die.
func (s *Store) turn(ctx context.Context, network string) (done func()) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout/2)
	defer cancel()
	ttl := int64((s.cfg.Timeout + time.Second - 1) / time.Second)
	var lease *clientv3.LeaseGrantResponse
	err := s.route.once(ctx, s.cfg.Timeout, func(ctx context.Context) (err error) {
		lease, err = s.client.Grant(ctx, ttl)
		return err
	})
	if err != nil {
		return func() {}
	}
	done = func() { // at once, also when the store closes: others wait
		ctx, cancel := context.WithTimeout(context.Background(), s.cfg.Timeout/parts)
		defer cancel()
		_, _ = s.client.Revoke(ctx, lease.ID) // else it ends by itself
	}
	queue := s.keys.queue(network)
	mine, err := s.client.Put(ctx, fmt.Sprintf("%s%x", queue, lease.ID), s.cfg.Machine, clientv3.WithLease(lease.ID))
	for err == nil && ctx.Err() == nil {
		var before *clientv3.GetResponse
		before, err = s.client.Get(ctx, queue, clientv3.WithPrefix(), clientv3.WithKeysOnly(), clientv3.WithLimit(1),
			clientv3.WithMaxCreateRev(mine.Header.Revision-1), clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortDescend))
		if err != nil || len(before.Kvs) == 0 {
			break
		}
		s.gone(ctx, string(before.Kvs[0].Key), before.Header.Revision)
	}
	return done
}

// gone waits until a key is deleted that was there at a revision.
func (s *Store) gone(ctx context.Context, key string, rev int64) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for a := range s.client.Watch(ctx, key, clientv3.WithRev(rev+1), clientv3.WithFilterPut()) {
		if a.Err() != nil || len(a.Events) > 0 {
			return
		}
	}
}

// first returns the first network that the changes are of.
func (cs changes) first() string {
	var nets []string
	for _, c := range cs {
		nets = append(nets, network(c.key))
	}
	return slices.Min(nets)
}
