package etcdstore

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// A request that may be sent again gets a part of the time there is, and the next
// attempt goes to the next member: one that is cut off says nothing, and one whose
// leader is gone keeps a request waiting that came before it noticed (7 s in etcd
// 3.4, server.go, ReqTimeout). Reads begin with short parts, so that each of three
// members is asked once in less than half of the time; one that is only slow gets
// twice as long then. Writes, which are dear to find out about, get that at once.
const (
	parts      = 4
	shortParts = 2 * parts
	shortTries = 3
)

// minStay is how long a member is asked at least, so that many failures at once,
// or a cluster that is down, do not make a connection each.
const minStay = 50 * time.Millisecond

// A route says which member of the cluster is asked: one at a time, until it does
// not answer. The client's own way, all in turn, would send a third of the requests
// to a member that is cut off, until TCP's keep-alive notices after 13 s; and a
// fleet would hold a connection to every member for every machine.
type route struct {
	endpoints []string // in an order of the store's own, so that a fleet spreads

	mu     sync.Mutex // guards all following fields
	at     int        // index of endpoints
	moved  time.Time
	client *clientv3.Client // nil: not connected yet
}

func newRoute(endpoints []string) *route {
	r := &route{endpoints: slices.Clone(endpoints)}
	rand.Shuffle(len(r.endpoints), func(i, j int) {
		r.endpoints[i], r.endpoints[j] = r.endpoints[j], r.endpoints[i]
	})
	return r
}

// current returns the member that is asked now.
func (r *route) current() (at int, endpoint string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.at, r.endpoints[r.at]
}

// use tells which client is to be led.
func (r *route) use(c *clientv3.Client) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.client = c
	c.SetEndpoints(r.endpoints[r.at])
}

// leave goes on to the next member, unless somebody did since at was current.
// Requests under way at the old one end there (grpc closes its connection when
// they have).
func (r *route) leave(at int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.at != at || len(r.endpoints) < 2 || time.Since(r.moved) < minStay {
		return
	}
	r.at, r.moved = (at+1)%len(r.endpoints), time.Now()
	if r.client != nil {
		r.client.SetEndpoints(r.endpoints[r.at])
	}
}

// once calls do with a part of wait, all of which a request may take, and leaves a
// member that does not answer.
func (r *route) once(ctx context.Context, wait time.Duration, do func(context.Context) error) error {
	return r.try(ctx, wait/parts, do)
}

func (r *route) try(ctx context.Context, part time.Duration, do func(context.Context) error) error {
	at, _ := r.current()
	try, cancel := context.WithTimeout(ctx, part)
	defer cancel()
	// A member without a leader shall say so, and not wait for one.
	err := do(clientv3.WithRequireLeader(try))
	if err != nil && !answered(err) && ctx.Err() != context.Canceled {
		r.leave(at)
	}
	return err
}

// persist calls do until it succeeds, etcd answers with an error, or ctx ends.
// wait is how long all may take.
func (r *route) persist(ctx context.Context, wait time.Duration, do func(context.Context) error) error {
	pause, part := 4*firstWait, wait/shortParts
	for n := 1; ; n, pause = n+1, min(2*pause, lastWait) {
		if n > shortTries {
			part = wait / parts
		}
		err := r.try(ctx, part, do)
		if err == nil || answered(err) || ctx.Err() != nil || !sleep(ctx, pause) {
			return err
		}
	}
}

// get is persist for a read.
func (s *Store) get(ctx context.Context, key string, opts ...clientv3.OpOption) (resp *clientv3.GetResponse, err error) {
	err = s.route.persist(ctx, s.cfg.Timeout, func(ctx context.Context) (err error) {
		resp, err = s.client.Get(ctx, key, opts...)
		return err
	})
	return resp, err
}
