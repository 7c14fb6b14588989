package etcdstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/vmnet-cni/vmnet/pkg/ipam"
)

// A Change is a lease that was given, or, where Gone, released.
type Change struct {
	Lease ipam.Lease
	Gone  bool
}

// Watch calls fn with the leases of a network that there are, or of all networks
// when network is "", by ascending key, then with every change, by whatever
// machine. It returns an error that wraps ipam.ErrUnavailable when etcd does not
// tell changes any more, and ctx's when that ends. Changes may be late by some
// seconds when the member that tells them dies. The watch of all networks gets
// what concerns released addresses too, and so some six times the bytes.
func (s *Store) Watch(ctx context.Context, network string, fn func(Change)) error {
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	err := s.connect(inner)
	if err == nil {
		err = s.watch(inner, network, fn)
	}
	if errors.Is(err, ipam.ErrCorrupt) {
		return err
	}
	return s.readError(ctx, err)
}

func (s *Store) watch(ctx context.Context, network string, fn func(Change)) error {
	prefix := ""
	if network != "" {
		prefix = network + "\x00"
	}
	snap := newSnapshot(ctx, s)
	var bad error
	err := snap.scan(ipam.TableLeases, prefix, func(key string, value []byte) bool {
		var l ipam.Lease
		if l, bad = decodeLease(key, value); bad == nil {
			fn(Change{Lease: l})
		}
		return bad == nil
	})
	if err := errors.Join(err, bad); err != nil {
		return err
	}
	from, end, _ := s.keys.scanRange(ipam.TableLeases, prefix)
	// Without a leader the watch shall end, not fall silent.
	answers := s.client.Watch(clientv3.WithRequireLeader(ctx), from,
		clientv3.WithRange(end), clientv3.WithRev(snap.rev+1), clientv3.WithPrevKV())
	probe := time.NewTicker(s.cfg.Timeout / 2)
	defer probe.Stop()
	for {
		select {
		case <-probe.C:
			if err := s.probe(ctx); err != nil {
				return err
			}
		case a, ok := <-answers:
			if !ok {
				return errors.New("watch ended")
			}
			if err := s.tellAnswer(a, fn); err != nil {
				return err
			}
		}
	}
}

// probe asks for next to nothing, so that the route leaves a member that is dead:
// the client looks for it for ever, and a watch is silent meanwhile.
func (s *Store) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	_, err := s.get(ctx, s.keys.generations(), clientv3.WithCountOnly())
	return err
}

func (s *Store) tellAnswer(a clientv3.WatchResponse, fn func(Change)) error {
	if err := a.Err(); err != nil {
		return err
	}
	for _, e := range a.Events {
		if err := s.tellChange(e, fn); err != nil {
			return err
		}
	}
	return nil
}

// tellChange calls fn if the event is of a lease.
func (s *Store) tellChange(e *clientv3.Event, fn func(Change)) error {
	t, key, ok := s.keys.decode(string(e.Kv.Key))
	if !ok || t != ipam.TableLeases {
		return nil
	}
	value, gone := e.Kv.Value, e.Type == clientv3.EventTypeDelete
	if gone {
		if e.PrevKv == nil { // compacted
			return nil
		}
		value = e.PrevKv.Value
	}
	l, err := decodeLease(key, value)
	if err == nil {
		fn(Change{Lease: l, Gone: gone})
	}
	return err
}

func decodeLease(key string, value []byte) (l ipam.Lease, err error) {
	if err := json.Unmarshal(value, &l); err != nil {
		return l, fmt.Errorf("table %s key %q: %w: %w", ipam.TableLeases, key, ipam.ErrCorrupt, err)
	}
	return l, nil
}

// walk calls visit with all leases, each page as it is when it is read, and
// passes over those that cannot be read.
func (s *Store) walk(visit func(ipam.Lease)) error {
	from, end, _ := s.keys.scanRange(ipam.TableLeases, "")
	for from < end {
		ctx, cancel := s.request()
		resp, err := s.get(ctx, from, clientv3.WithRange(end), clientv3.WithLimit(lastPage))
		cancel()
		if err != nil {
			return err
		}
		for _, kv := range resp.Kvs {
			if t, key, ok := s.keys.decode(string(kv.Key)); ok && t == ipam.TableLeases {
				if l, err := decodeLease(key, kv.Value); err == nil {
					visit(l)
				}
			}
		}
		if !resp.More {
			return nil
		}
		from = s.keys.skip(ipam.TableLeases, string(resp.Kvs[len(resp.Kvs)-1].Key))
	}
	return nil
}
