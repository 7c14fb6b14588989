package etcdstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/vmnet-cni/vmnet/pkg/ipam"
)

// Pages of a scan: the first is small, as most scans want one record, and each
// is four times as large as the one before: etcd counts all that is left for each
// (mvcc/kvstore_txn.go, rangeKeys), so that many small ones would take longest.
const (
	firstPage = 16
	lastPage  = 8192
)

// A snapshot reads records as they were at one revision of etcd, which the first
// read sets. It is used by one goroutine.
type snapshot struct {
	ctx  context.Context
	wait time.Duration // bounds each request
	way  *route
	kv   clientv3.KV
	keys layout
	rev  int64
	// seen holds what was read by key; nil: there was none.
	seen map[string][]byte
	// nets are the networks that were looked at, and scans the prefixes of
	// networks that were, so that a commit can tell whether they changed.
	nets, scans map[string]bool
	// runs are etcd keys that follow one another, as scans of one network and
	// table saw them. Only kept where keepRuns says so.
	runs     [][]string
	keepRuns bool
	// err is the first error of etcd.
	err error
	// missing, unless nil, gathers what is wanted and not there yet, to be
	// fetched at once; see apply.
	missing map[string]int64
	// known are ranges of which seen has everything, and pages what scans got.
	known []keyRange
	pages map[string]*clientv3.GetResponse
}

// A keyRange is the etcd keys [from, end).
type keyRange struct{ from, end string }

// errMissing ends a function that wants a record that is being gathered.
var errMissing = errors.New("record is not fetched yet")

func newSnapshot(ctx context.Context, s *Store) *snapshot {
	return &snapshot{ctx: ctx, wait: s.cfg.Timeout, way: s.route, kv: s.client.KV, keys: s.keys, seen: map[string][]byte{}, nets: map[string]bool{}, scans: map[string]bool{}}
}

// next returns a snapshot at another revision.
func (s *snapshot) next(rev int64) *snapshot {
	n := *s
	n.rev, n.runs, n.err = rev, nil, nil
	n.seen, n.nets, n.scans = map[string][]byte{}, map[string]bool{}, map[string]bool{}
	n.missing, n.known, n.pages = nil, nil, nil
	return &n
}

// request reads at the snapshot's revision. It keeps the first error, and the
// revision of the first answer.
func (s *snapshot) request(key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	ctx, cancel := context.WithTimeout(s.ctx, s.wait)
	defer cancel()
	var resp *clientv3.GetResponse
	err := s.way.persist(ctx, s.wait, func(ctx context.Context) (err error) {
		resp, err = s.kv.Get(ctx, key, append(opts, clientv3.WithRev(s.rev))...) // 0: now
		return err
	})
	if err != nil {
		if s.err == nil {
			s.err = err
		}
		return nil, err
	}
	if s.rev == 0 {
		s.rev = resp.Header.Revision
	}
	return resp, nil
}

// begin sets the revision where nothing was read.
func (s *snapshot) begin() error {
	if s.rev > 0 {
		return nil
	}
	_, err := s.request(s.keys.generations(), clientv3.WithCountOnly())
	return err
}

func (s *snapshot) get(t ipam.Table, key string) ([]byte, error) {
	s.nets[network(key)] = true
	etcdKey := s.keys.encode(t, key)
	if value, ok := s.seen[etcdKey]; ok {
		return value, nil
	}
	for _, r := range s.known {
		if r.from <= etcdKey && etcdKey < r.end {
			return nil, nil
		}
	}
	if s.missing != nil {
		s.missing[etcdKey] = 1
		if t == ipam.TableAddrs { // who asks next wants the next address
			s.missing[etcdKey] = maxBatch
		}
		return nil, errMissing
	}
	resp, err := s.request(etcdKey)
	if err != nil {
		return nil, err
	}
	s.learn(etcdKey, etcdKey+"\x00", resp.Kvs)
	return s.seen[etcdKey], nil
}

// learn remembers what [from, end) holds.
func (s *snapshot) learn(from, end string, kvs []*mvccpb.KeyValue) {
	s.seen[from] = nil
	for _, kv := range kvs {
		s.seen[string(kv.Key)] = notNil(kv.Value)
	}
	if end != from+"\x00" {
		s.known = append(s.known, keyRange{from, end})
	}
}

// fetch reads what is missing, all in one request.
func (s *snapshot) fetch() error {
	var ops []clientv3.Op
	var ranges []keyRange
	for from, limit := range s.missing {
		if len(ops) == flatOps {
			break // the next round's
		}
		opts := []clientv3.OpOption{clientv3.WithRev(s.rev)}
		r := keyRange{from, from + "\x00"}
		if t, key, ok := s.keys.decode(from); ok && limit > 1 {
			_, r.end, _ = s.keys.scanRange(t, network(key)+"\x00")
			opts = append(opts, clientv3.WithRange(r.end), clientv3.WithLimit(limit))
		}
		ops, ranges = append(ops, clientv3.OpGet(from, opts...)), append(ranges, r)
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.wait)
	defer cancel()
	var resp *clientv3.TxnResponse
	err := s.way.persist(ctx, s.wait, func(ctx context.Context) (err error) {
		resp, err = s.kv.Txn(ctx).Then(ops...).Commit()
		return err
	})
	if err != nil {
		s.err = err
		return err
	}
	if s.rev == 0 {
		s.rev = resp.Header.Revision
	}
	for i, r := range ranges {
		got := resp.Responses[i].GetResponseRange()
		if got.More {
			r.end = string(got.Kvs[len(got.Kvs)-1].Key) + "\x00"
		}
		s.learn(r.from, r.end, got.Kvs)
	}
	return nil
}

// page is a request for a page of a scan, or what it got before.
func (s *snapshot) page(from, end string, limit int64) (*clientv3.GetResponse, error) {
	id := fmt.Sprint(limit, " ", from, "\xff", end)
	if resp := s.pages[id]; resp != nil {
		return resp, nil
	}
	resp, err := s.request(from, clientv3.WithRange(end), clientv3.WithLimit(limit))
	if err == nil && limit == firstPage { // larger ones are not for keeping
		if s.pages == nil {
			s.pages = map[string]*clientv3.GetResponse{}
		}
		s.pages[id] = resp
	}
	return resp, err
}

// scan calls visit for the records of a table by ascending key, until it returns
// false.
func (s *snapshot) scan(t ipam.Table, prefix string, visit func(key string, value []byte) bool) error {
	from, end, exact := s.keys.scanRange(t, prefix)
	if exact {
		s.nets[network(prefix)] = true
	} else {
		s.scans[prefix] = true
	}
	var run []string
	if exact && s.keepRuns {
		defer func() { s.runs = append(s.runs, run) }()
	}
	for page := int64(firstPage); from < end; page = min(4*page, lastPage) {
		resp, err := s.page(from, end, page)
		if err != nil {
			return err
		}
		for _, kv := range resp.Kvs {
			table, key, ok := s.keys.decode(string(kv.Key))
			if s.keepRuns {
				run = append(run, string(kv.Key))
			}
			if ok && table == t && !visit(key, notNil(kv.Value)) {
				return nil
			}
		}
		if !resp.More {
			return nil
		}
		from = s.keys.skip(t, string(resp.Kvs[len(resp.Kvs)-1].Key))
	}
	return nil
}

// notNil makes an empty value one that is there: the client decodes it as nil.
func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
