package ipam

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// Verify reads everything that the tables hold and returns an error that wraps
// ErrCorrupt if a record cannot be read or two contradict each other: each lease
// holds its addresses and nobody else does, each released address is in the
// index of its pool, sticky keys are known by their age, the counts are right. It takes time in proportion to the number of records.
func Verify(tx Tx) error {
	v := verifier{tx: tx, pools: map[poolKey]*poolRecord{}}
	for _, step := range [...]struct {
		table Table
		check func(key, value []byte) error
	}{
		{TablePools, v.poolRecord},
		{TableLeases, v.lease},
		{TableAddrs, v.addr},
		{TableReleased, v.releasedEntry},
		{TableSticky, v.stickyEntry},
		{TableMemory, v.memoryEntry},
	} {
		var bad error
		err := tx.Scan(step.table, nil, func(key, value []byte) bool {
			if bad = step.check(key, value); bad != nil && !errors.Is(bad, ErrCorrupt) {
				bad = fmt.Errorf("table %s key %q: %w: %w", step.table, key, ErrCorrupt, bad)
			}
			return bad == nil
		})
		if err = errors.Join(err, bad); err != nil {
			return err
		}
	}
	return v.counts()
}

// A verifier holds the counts of each pool as the records say; what is found is
// subtracted, so that all end at 0.
type verifier struct {
	tx    Tx
	pools map[poolKey]*poolRecord
	// held is how many addresses the leases hold, less those found.
	held int
}

func (v *verifier) poolRecord(key, value []byte) error {
	parts, rest, ok := splitKey(key, 2)
	if !ok || len(rest) > 0 {
		return errors.New("key is not of a pool")
	}
	rec := new(poolRecord)
	if err := decode(TablePools, key, value, rec); err != nil {
		return err
	}
	v.pools[poolKey{parts[0], parts[1]}] = rec
	return nil
}

func (v *verifier) lease(key, value []byte) error {
	var l Lease
	if err := decode(TableLeases, key, value, &l); err != nil {
		return err
	}
	if !bytes.Equal(key, l.encode()) || l.check() != nil || len(l.Addrs) == 0 {
		return fmt.Errorf("lease of %s with %d addresses is not the key's", l.Key, len(l.Addrs))
	}
	for _, p := range l.Addrs {
		var r addrRecord
		if _, err := getJSON(v.tx, TableAddrs, addrKey(l.Network, p.Addr()), &r); err != nil {
			return err
		}
		if !p.IsValid() || r.Holder == nil || *r.Holder != l.Key {
			return fmt.Errorf("address %s is not held by its lease", p)
		}
		v.held++
	}
	return nil
}

func (v *verifier) addr(key, value []byte) error {
	parts, rest, ok := splitKey(key, 1)
	a, isAddr := netip.AddrFromSlice(rest)
	if !ok || !isAddr {
		return errors.New("key is not of an address")
	}
	var r addrRecord
	if err := decode(TableAddrs, key, value, &r); err != nil {
		return err
	}
	k := poolKey{parts[0], r.Pool}
	rec := v.pools[k]
	if rec == nil {
		return fmt.Errorf("pool %q has no record", r.Pool)
	}
	if r.Holder != nil {
		rec.Held--
		v.held--
		return v.heldBy(k.Network, *r.Holder, a)
	}
	rec.Released--
	if r.Seq == 0 || r.Seq > rec.Seq {
		return fmt.Errorf("release %d of %d", r.Seq, rec.Seq)
	}
	return v.standsFor(TableReleased, releasedKey(k, r.Seq), a)
}

// heldBy checks that the lease of holder has a.
func (v *verifier) heldBy(network string, holder Key, a netip.Addr) error {
	var l Lease
	if _, err := getJSON(v.tx, TableLeases, holder.encode(), &l); err != nil {
		return err
	}
	if holder.Network == network {
		for _, p := range l.Addrs {
			if p.Addr() == a {
				return nil
			}
		}
	}
	return fmt.Errorf("held by %s, whose lease has %v", holder, l.Addrs)
}

// standsFor checks that the value of a key is a.
func (v *verifier) standsFor(t Table, key []byte, a netip.Addr) error {
	value, err := v.tx.Get(t, key)
	if err != nil {
		return err
	}
	if !bytes.Equal(value, a.AsSlice()) {
		return fmt.Errorf("table %s key %q has %x, want %s", t, key, value, a)
	}
	return nil
}

func (v *verifier) releasedEntry(key, value []byte) error {
	parts, rest, ok := splitKey(key, 2)
	if !ok || len(rest) != 8 {
		return errors.New("key is not of a release")
	}
	r, err := v.released(parts[0], value)
	if err != nil {
		return err
	}
	if r.Pool != parts[1] || r.Seq != binary.BigEndian.Uint64(rest) {
		return fmt.Errorf("address was released as %d of pool %q", r.Seq, r.Pool)
	}
	return nil
}

func (v *verifier) stickyEntry(key, value []byte) error {
	parts, rest, ok := splitKey(key, 3)
	if !ok || len(rest) > 0 {
		return errors.New("key is not a sticky key")
	}
	r, err := decodeSticky(key, value)
	if err != nil || r.Seq == 0 {
		return err
	}
	k := poolKey{parts[0], parts[1]}
	rec := v.pools[k]
	if rec == nil || r.Seq > rec.Seq {
		return fmt.Errorf("release %d of pool %q", r.Seq, k.Name)
	}
	rec.Sticky--
	memory, err := v.tx.Get(TableMemory, releasedKey(k, r.Seq))
	if err == nil && string(memory) != parts[2] {
		err = fmt.Errorf("release %d was under %q", r.Seq, memory)
	}
	return err
}

func (v *verifier) memoryEntry(key, value []byte) error {
	parts, rest, ok := splitKey(key, 2)
	if !ok || len(rest) != 8 {
		return errors.New("key is not of a release")
	}
	r, found, err := getSticky(v.tx, stickyRecordKey(poolKey{parts[0], parts[1]}, string(value)))
	if err == nil && (!found || r.Seq != binary.BigEndian.Uint64(rest)) {
		err = fmt.Errorf("sticky key %q stands for release %d", value, r.Seq)
	}
	return err
}

// released returns the record of a released address.
func (v *verifier) released(network string, addr []byte) (r addrRecord, err error) {
	found, err := getJSON(v.tx, TableAddrs, append(textKey(network), addr...), &r)
	if err == nil && (!found || r.Holder != nil) {
		err = fmt.Errorf("address %x is not a released one", addr)
	}
	return r, err
}

func (v *verifier) counts() error {
	if v.held != 0 {
		return fmt.Errorf("%w: leases hold %d addresses more than are marked held", ErrCorrupt, v.held)
	}
	for k, r := range v.pools {
		if r.Held != 0 || r.Released != 0 || r.Sticky != 0 {
			return fmt.Errorf("%w: pool %q of network %q counts %d held, %d released and %d sticky too many",
				ErrCorrupt, k.Name, k.Network, r.Held, r.Released, r.Sticky)
		}
	}
	return nil
}

// splitKey returns the first n text parts of a key and what follows them.
func splitKey(key []byte, n int) (parts []string, rest []byte, ok bool) {
	for range n {
		part, after, found := bytes.Cut(key, []byte{0})
		if !found {
			return nil, nil, false
		}
		parts, key = append(parts, string(part)), after
	}
	return parts, key, true
}
