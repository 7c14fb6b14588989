package ipam

import (
	"iter"
	"net/netip"
	"strings"
	"time"
)

// A txView is a View of a transaction, for one pool of one request. The first
// error of the store stays in err and makes everything look unused; who calls
// Choose looks at err before the choice.
type txView struct {
	tx     Tx
	pool   poolKey
	record *poolRecord
	now    time.Time
	self   Key
	chosen []netip.Prefix // for self, from the request's other pools
	err    error
}

func (v *txView) addr(a netip.Addr) (addrRecord, bool) {
	var r addrRecord
	ok, err := getJSON(v.tx, TableAddrs, addrKey(v.pool.Network, a), &r)
	v.keep(err)
	return r, ok && err == nil
}

// Holder implements View.
func (v *txView) Holder(a netip.Addr) (Key, bool) {
	for _, p := range v.chosen {
		if p.Addr() == a {
			return v.self, true
		}
	}
	r, ok := v.addr(a)
	if !ok || r.Holder == nil {
		return Key{}, false
	}
	return *r.Holder, true
}

// Released implements View.
func (v *txView) Released(a netip.Addr) bool {
	r, ok := v.addr(a)
	return ok && r.Holder == nil
}

// Sticky implements View.
func (v *txView) Sticky(key string) (netip.Addr, bool) {
	r, found, err := getSticky(v.tx, stickyRecordKey(v.pool, key))
	v.keep(err)
	return r.Addr, found
}

// Oldest implements View.
func (v *txView) Oldest() iter.Seq2[netip.Addr, time.Time] {
	return func(yield func(netip.Addr, time.Time) bool) {
		for a := range v.oldest(v.pool) {
			r, _ := v.addr(a)
			if v.err != nil || !yield(a, r.Since) {
				return
			}
		}
	}
}

// oldest yields what a pool released, the oldest first.
func (v *txView) oldest(k poolKey) iter.Seq[netip.Addr] {
	return func(yield func(netip.Addr) bool) {
		v.keep(v.tx.Scan(TableReleased, k.encode(), func(key, value []byte) bool {
			a, err := decodeAddr(TableReleased, key, value)
			v.keep(err)
			return err == nil && yield(a)
		}))
	}
}

// Elsewhere implements View. Of each other pool it reads what was released until
// one fits, and one record where the pool is of the other IP version.
func (v *txView) Elsewhere(bits int, gives func(netip.Addr) bool) (first netip.Addr, since time.Time, ok bool) {
	var others []poolKey
	prefix := textKey(v.pool.Network)
	v.keep(v.tx.Scan(TablePools, prefix, func(key, value []byte) bool {
		var r poolRecord
		if err := decode(TablePools, key, value, &r); err != nil {
			v.keep(err)
			return false
		}
		k := poolKey{v.pool.Network, strings.TrimSuffix(string(key[len(prefix):]), "\x00")}
		if k != v.pool && r.Released > 0 {
			others = append(others, k)
		}
		return true
	}))
	for _, k := range others {
		for a := range v.oldest(k) {
			if a.BitLen() != bits {
				break
			}
			if !gives(a) {
				continue
			}
			r, known := v.addr(a)
			if known && r.Holder == nil && (!ok || r.Since.Before(since)) {
				first, since, ok = a, r.Since, true
			}
			break
		}
	}
	return first, since, ok
}

// Now implements View.
func (v *txView) Now() time.Time { return v.now }

// Cursor implements View.
func (v *txView) Cursor() Cursor { return v.record.cursor() }

// keep keeps the first error.
func (v *txView) keep(err error) {
	if v.err == nil {
		v.err = err
	}
}
