package ipam

import (
	"iter"
	"net/netip"
)

// A txView is a View of a transaction, for one pool of one request. The first
// error of the store stays in err and makes everything look unused; who calls
// Choose looks at err before the choice.
type txView struct {
	tx     Tx
	pool   poolKey
	record *poolRecord
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
	k := stickyRecordKey(v.pool, key)
	value, err := v.tx.Get(TableSticky, k)
	if err != nil || value == nil {
		v.keep(err)
		return netip.Addr{}, false
	}
	a, err := decodeAddr(TableSticky, k, value)
	v.keep(err)
	return a, err == nil
}

// Oldest implements View.
func (v *txView) Oldest() iter.Seq[netip.Addr] {
	return func(yield func(netip.Addr) bool) {
		v.keep(v.tx.Scan(TableReleased, v.pool.encode(), func(key, value []byte) bool {
			a, err := decodeAddr(TableReleased, key, value)
			v.keep(err)
			return err == nil && yield(a)
		}))
	}
}

// Cursor implements View.
func (v *txView) Cursor() Cursor { return v.record.cursor() }

// keep keeps the first error.
func (v *txView) keep(err error) {
	if v.err == nil {
		v.err = err
	}
}
