package etcdstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// etcd refuses a transaction of more than 128 operations (--max-txn-ops), in
// which a transaction inside counts as one, and may have as many as are left
// (etcdserver/api/v3rpc/key.go, checkTxnRequest). So a large one is cut in parts.
const (
	flatOps = 100           // operations of a transaction without parts
	partOps = 60            // of a part
	maxOps  = partOps * 60  // of all parts; with comparisons that is below 128
	maxSize = 1<<20 + 1<<18 // bytes of keys and values; etcd takes 1.5 MiB (--max-request-bytes)
)

// ErrTooLarge says that a transaction changes more records than etcd takes at
// once: 3600 records, or 1.25 MiB.
var ErrTooLarge = errors.New("transaction is too large for etcd")

// An outcome is what became of a commit.
type outcome int

const (
	committed outcome = iota
	conflict          // somebody changed what was read; nothing was written
	unknown           // the answer was lost; it may be written, or become so yet
	refused           // etcd answered with an error; nothing was written
)

// A commit is an etcd transaction that writes the changes if nothing that the
// snapshot looked at has changed since.
//
// For that, each network has a generation: a key that every commit puts which
// changes one of the network's records, with the commit's own ID as its value. It
// is never deleted, so that one comparison notices all changes, of records that
// are new and that are gone too, which comparisons of the records would not.
type commit struct {
	id      string
	snap    *snapshot
	written []string // networks
	guards  []guard
	ops     []clientv3.Op
}

// A guard is a condition of a commit beside its records.
type guard struct {
	cmp clientv3.Cmp
	key string // what cmp looks at
	// failed tells, from the key as it is (nil: there is none), whether the
	// commit is hopeless. Nil: cmp holds, or it is worth another attempt.
	failed func(*mvccpb.KeyValue) error
}

// newCommit returns the commit of the changes, of which there is one at least.
func newCommit(id string, snap *snapshot, cs changes, guards []guard) (*commit, error) {
	c := &commit{id: id, snap: snap, guards: guards}
	nets := map[string]bool{}
	size := 0
	for key, ch := range cs {
		nets[network(ch.key)] = true
		size += len(key) + len(ch.value)
	}
	c.written = slices.Sorted(maps.Keys(nets))
	if len(cs) > flatOps {
		c.ops = append(c.ops, dropRuns(snap.runs, cs)...)
	}
	for _, key := range slices.Sorted(maps.Keys(cs)) {
		if ch := cs[key]; ch.deleted {
			c.ops = append(c.ops, clientv3.OpDelete(key))
		} else {
			c.ops = append(c.ops, clientv3.OpPut(key, string(ch.value)))
		}
	}
	if len(c.ops) > maxOps || size > maxSize && len(c.ops) > 1 {
		return nil, fmt.Errorf("%d changes of %d bytes: %w", len(c.ops), size, ErrTooLarge)
	}
	if len(c.ops) > flatOps {
		var parts []clientv3.Op
		for part := range slices.Chunk(c.ops, partOps) {
			parts = append(parts, clientv3.OpTxn(nil, part, nil))
		}
		c.ops = parts
	}
	for _, n := range c.written {
		c.ops = append(c.ops, clientv3.OpPut(snap.keys.generation(n), id))
	}
	return c, nil
}

// dropRuns turns deletions of keys that follow one another into deletions of
// ranges, and takes them out of cs. Nothing else is in the range: the snapshot
// saw none, and the commit's comparisons say that none came since.
func dropRuns(runs [][]string, cs changes) (ops []clientv3.Op) {
	var puts []string
	for key, ch := range cs {
		if !ch.deleted {
			puts = append(puts, key)
		}
	}
	slices.Sort(puts)
	for _, run := range runs {
		for len(run) > 0 {
			n := 0
			for n < len(run) && cs[run[n]].deleted {
				n++
			}
			if n < 2 {
				run = run[max(n, 1):]
				continue
			}
			from, end := run[0], run[n-1]+"\x00"
			if i, _ := slices.BinarySearch(puts, from); i == len(puts) || puts[i] >= end {
				for _, key := range run[:n] {
					delete(cs, key)
				}
				ops = append(ops, clientv3.OpDelete(from, clientv3.WithRange(end)))
			}
			run = run[n:]
		}
	}
	return ops
}

// unchanged returns the comparisons that say that nothing changed since.
func (c *commit) unchanged() []clientv3.Cmp {
	since := func(key string) clientv3.Cmp {
		return clientv3.Compare(clientv3.ModRevision(key), "<", c.snap.rev+1)
	}
	var cmps []clientv3.Cmp
	for _, g := range c.guards {
		cmps = append(cmps, g.cmp)
	}
	nets := maps.Clone(c.snap.nets)
	for _, n := range c.written {
		nets[n] = true
	}
	for n := range nets {
		cmps = append(cmps, since(c.snap.keys.generation(n)))
	}
	for prefix := range c.snap.scans {
		key := c.snap.keys.generation(prefix)
		cmps = append(cmps, since(key).WithRange(prefixEnd(key)))
	}
	return cmps
}

// do sends the commit. After a conflict, fresh is a snapshot of the same records
// as they are now, which the same answer brought; err is a guard's.
func (c *commit) do(ctx context.Context) (out outcome, fresh *snapshot, err error) {
	var again []clientv3.Op
	for _, g := range c.guards {
		again = append(again, clientv3.OpGet(g.key))
	}
	for key := range c.snap.seen {
		if len(again) < partOps { // as many are left for each of the parts
			again = append(again, clientv3.OpGet(key))
		}
	}
	var resp *clientv3.TxnResponse
	err = c.snap.way.once(ctx, c.snap.wait, func(ctx context.Context) (err error) {
		resp, err = c.snap.kv.Txn(ctx).If(c.unchanged()...).Then(c.ops...).Else(again...).Commit()
		return err
	})
	switch {
	case err != nil && answered(err):
		return refused, nil, err
	case err != nil:
		return unknown, nil, err
	case resp.Succeeded:
		return committed, nil, nil
	}
	fresh = c.snap.next(resp.Header.Revision)
	for i, op := range again {
		var kv *mvccpb.KeyValue
		if kvs := resp.Responses[i].GetResponseRange().Kvs; len(kvs) > 0 {
			kv = kvs[0]
		}
		switch {
		case i < len(c.guards):
			if err := c.guards[i].failed(kv); err != nil {
				return refused, nil, err
			}
		case kv == nil:
			fresh.seen[string(op.KeyBytes())] = nil
		default:
			fresh.seen[string(kv.Key)] = notNil(kv.Value)
		}
	}
	return conflict, fresh, nil
}

// errHistory says that a commit is too long ago to be found out about.
var errHistory = errors.New("history is too long")

// maxHistory bounds how many later commits are looked behind for one of unknown
// outcome.
const maxHistory = 64

// settle finds out what became of a commit whose answer was lost. It changes the
// generation that the commit compares, so that the commit cannot happen later,
// unless somebody did already; then the generation's history tells.
func (c *commit) settle(ctx context.Context, id string) (outcome, error) {
	key := c.snap.keys.generation(c.written[0])
	resp, err := c.snap.kv.Txn(ctx).
		If(clientv3.Compare(clientv3.ModRevision(key), "<", c.snap.rev+1)).
		Then(clientv3.OpPut(key, id)).
		Else(clientv3.OpGet(key)).Commit()
	if err != nil {
		return unknown, err
	}
	if resp.Succeeded {
		return conflict, nil
	}
	kvs := resp.Responses[0].GetResponseRange().Kvs
	for range maxHistory {
		switch {
		case len(kvs) == 0 || kvs[0].ModRevision <= c.snap.rev:
			return conflict, nil
		case string(kvs[0].Value) == c.id:
			return committed, nil
		case kvs[0].ModRevision == 1: // no revision is before it
			return conflict, nil
		}
		before, err := c.snap.kv.Get(ctx, key, clientv3.WithRev(kvs[0].ModRevision-1))
		if err != nil {
			return unknown, err
		}
		kvs = before.Kvs
	}
	return unknown, fmt.Errorf("network %q changed more than %d times since: %w", c.written[0], maxHistory, errHistory)
}
