package ipam

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// A writer changes the records of one transaction. Records of pools are kept
// until flush.
type writer struct {
	tx          Tx
	now         time.Time
	maxReleased int
	machine     string
	pools       map[poolKey]*poolRecord
}

func (a *Allocator) writer(tx Tx) *writer {
	return &writer{tx: tx, now: a.now().UTC(), maxReleased: a.maxReleased, machine: a.machine, pools: map[poolKey]*poolRecord{}}
}

// pool returns the record of a pool, a new one if there is none.
func (w *writer) pool(k poolKey) (*poolRecord, error) {
	if r := w.pools[k]; r != nil {
		return r, nil
	}
	r := new(poolRecord)
	if _, err := getJSON(w.tx, TablePools, k.encode(), r); err != nil {
		return nil, err
	}
	w.pools[k] = r
	return r, nil
}

// flush writes the records of pools.
func (w *writer) flush() error {
	for k, r := range w.pools {
		if err := putJSON(w.tx, TablePools, k.encode(), r); err != nil {
			return err
		}
	}
	return nil
}

// allocate chooses for every pool, then writes. A refusal is the error of a
// choice; what was learned on the way is written all the same.
func (w *writer) allocate(req Request) (lease Lease, refusal, err error) {
	lease = Lease{Key: req.Key, MAC: req.MAC, StickyKey: req.stickyKey(), Machine: w.machine, Created: w.now}
	choices := make([]Choice, len(req.Pools))
	for i, p := range req.Pools {
		choices[i], refusal, err = w.choose(p, req, lease.Addrs)
		if refusal != nil || err != nil {
			return Lease{}, refusal, err
		}
		lease.Addrs = append(lease.Addrs, choices[i].Addr)
		lease.Early = lease.Early || choices[i].Early
	}
	for i, p := range req.Pools {
		if err := w.take(p.key(), choices[i], lease); err != nil {
			return Lease{}, nil, err
		}
	}
	if err := w.flush(); err != nil {
		return Lease{}, nil, err
	}
	return lease, nil, putJSON(w.tx, TableLeases, req.encode(), lease)
}

// choose runs Choose for a pool; chosen are the addresses of the request's
// earlier pools. Where nothing is free, it writes how far the cursor came.
func (w *writer) choose(p Pool, req Request, chosen []netip.Prefix) (c Choice, refusal, err error) {
	v, err := w.view(p, req.Key, chosen)
	if err != nil {
		return c, nil, err
	}
	c, refusal = Choose(p, v, req)
	if v.err != nil {
		return c, nil, v.err
	}
	if errors.Is(refusal, ErrExhausted) && c.Cursor != v.record.cursor() {
		v.record.setCursor(c.Cursor)
		return c, refusal, putJSON(w.tx, TablePools, v.pool.encode(), v.record)
	}
	return c, refusal, nil
}

// view returns the view of a pool. A pool whose layout changed since begins at
// its first address again.
func (w *writer) view(p Pool, self Key, chosen []netip.Prefix) (*txView, error) {
	l, err := p.layout()
	if err != nil {
		return nil, err
	}
	rec, err := w.pool(p.key())
	if err != nil {
		return nil, err
	}
	if id := l.id(); rec.Layout != id {
		rec.Layout = id
		rec.setCursor(l.start())
	}
	return &txView{tx: w.tx, pool: p.key(), record: rec, now: w.now, self: self, chosen: chosen}, nil
}

// take writes that the lease holds the chosen address.
func (w *writer) take(k poolKey, c Choice, lease Lease) error {
	rec, err := w.pool(k)
	if err != nil {
		return err
	}
	rec.setCursor(c.Cursor)
	rec.Held++
	for _, a := range append(c.Stale, c.Addr.Addr()) {
		if err := w.forget(k.Network, a); err != nil {
			return err
		}
	}
	return putJSON(w.tx, TableAddrs, addrKey(k.Network, c.Addr.Addr()), addrRecord{
		Pool: k.Name, Holder: &lease.Key, StickyKey: lease.StickyKey, Since: lease.Created,
	})
}

// forget deletes that an address was released, which nobody holds. The pool that
// released it need not be the one that takes it. Sticky keys go on standing for
// it: it may be free again when they are asked for.
func (w *writer) forget(network string, a netip.Addr) error {
	var r addrRecord
	key := addrKey(network, a)
	found, err := getJSON(w.tx, TableAddrs, key, &r)
	if err != nil || !found || r.Holder != nil {
		return err
	}
	k := poolKey{network, r.Pool}
	rec, err := w.pool(k)
	if err != nil {
		return err
	}
	rec.Released--
	if err := w.tx.Delete(TableReleased, releasedKey(k, r.Seq)); err != nil {
		return err
	}
	return w.tx.Delete(TableAddrs, key)
}

// release gives the addresses of a lease back.
func (w *writer) release(key Key) error {
	var lease Lease
	found, err := getJSON(w.tx, TableLeases, key.encode(), &lease)
	if err != nil || !found || lease.Machine != w.machine {
		return err
	}
	for _, p := range lease.Addrs {
		if err := w.releaseAddr(lease, p.Addr()); err != nil {
			return err
		}
	}
	if err := w.flush(); err != nil {
		return err
	}
	return w.tx.Delete(TableLeases, key.encode())
}

// releaseAddr remembers that the lease's address a is now free.
func (w *writer) releaseAddr(lease Lease, a netip.Addr) error {
	var r addrRecord
	key := addrKey(lease.Network, a)
	found, err := getJSON(w.tx, TableAddrs, key, &r)
	if err != nil {
		return err
	}
	if !found || r.Holder == nil || *r.Holder != lease.Key {
		return fmt.Errorf("table %s: %w: %s is not held by %s", TableAddrs, ErrCorrupt, a, lease.Key)
	}
	k := poolKey{lease.Network, r.Pool}
	rec, err := w.pool(k)
	if err != nil {
		return err
	}
	rec.Held--
	rec.Released++
	rec.Seq++
	r = addrRecord{Pool: r.Pool, Seq: rec.Seq, StickyKey: lease.StickyKey, Since: w.now}
	if err := putJSON(w.tx, TableAddrs, key, r); err != nil {
		return err
	}
	if err := w.tx.Put(TableReleased, releasedKey(k, rec.Seq), a.AsSlice()); err != nil {
		return err
	}
	if err := w.remember(k, rec, lease.StickyKey, a); err != nil {
		return err
	}
	return w.bound(k, rec)
}

// remember lets the sticky key stand for a, and forgets the keys that were not
// used for the longest, so that at most maxReleased are remembered.
func (w *writer) remember(k poolKey, rec *poolRecord, sticky string, a netip.Addr) error {
	key := stickyRecordKey(k, sticky)
	old, found, err := getSticky(w.tx, key)
	if err != nil {
		return err
	}
	if found && old.Seq > 0 {
		err = w.tx.Delete(TableMemory, releasedKey(k, old.Seq))
	} else {
		rec.Sticky++
	}
	if err != nil {
		return err
	}
	if err := putJSON(w.tx, TableSticky, key, stickyRecord{Addr: a, Seq: rec.Seq}); err != nil {
		return err
	}
	if err := w.tx.Put(TableMemory, releasedKey(k, rec.Seq), []byte(sticky)); err != nil {
		return err
	}
	for rec.Sticky > w.maxReleased {
		if err := w.forgetSticky(k, rec); err != nil {
			return err
		}
	}
	return nil
}

// forgetSticky forgets the sticky key that was not used for the longest.
func (w *writer) forgetSticky(k poolKey, rec *poolRecord) error {
	var memory, sticky []byte
	err := w.tx.Scan(TableMemory, k.encode(), func(key, value []byte) bool {
		memory, sticky = bytes.Clone(key), bytes.Clone(value)
		return false
	})
	if err != nil {
		return err
	}
	if memory == nil {
		return fmt.Errorf("table %s: %w: pool %s has %d, none is there", TableMemory, ErrCorrupt, k.Name, rec.Sticky)
	}
	rec.Sticky--
	if err := w.tx.Delete(TableSticky, stickyRecordKey(k, string(sticky))); err != nil {
		return err
	}
	return w.tx.Delete(TableMemory, memory)
}

// bound forgets the addresses released longest ago, so that at most maxReleased
// are remembered.
func (w *writer) bound(k poolKey, rec *poolRecord) error {
	for rec.Released > w.maxReleased {
		oldest, ok, err := w.oldest(k)
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("table %s: %w: pool %s has %d, none is there", TableReleased, ErrCorrupt, k.Name, rec.Released)
		}
		before := rec.Released
		if err := w.forget(k.Network, oldest); err != nil {
			return err
		}
		if rec.Released == before {
			return fmt.Errorf("table %s: %w: %s was not released", TableReleased, ErrCorrupt, oldest)
		}
		rec.Lost = true
	}
	return nil
}

// oldest returns the address of the pool that was released longest ago.
func (w *writer) oldest(k poolKey) (oldest netip.Addr, ok bool, err error) {
	scanErr := w.tx.Scan(TableReleased, k.encode(), func(key, value []byte) bool {
		oldest, err = decodeAddr(TableReleased, key, value)
		ok = err == nil
		return false
	})
	return oldest, ok, errors.Join(err, scanErr)
}
