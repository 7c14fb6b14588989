package ipam

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// poolKey tells the pools of a store apart.
type poolKey struct {
	Network string `json:"network"`
	Name    string `json:"name,omitempty"`
}

func (p Pool) key() poolKey { return poolKey{p.Network, p.Name} }

// An addrRecord is what is known of an address: who holds it, or, when Holder is
// nil, which release of its pool it was.
type addrRecord struct {
	Pool      string    `json:"pool,omitempty"` // its name
	Holder    *Key      `json:"holder,omitempty"`
	Seq       uint64    `json:"seq,omitempty"`
	StickyKey string    `json:"stickyKey"`
	Since     time.Time `json:"since"` // given or released
}

// A poolRecord is what is known of a pool.
type poolRecord struct {
	Layout   string     `json:"layout"` // layout.id
	Next     netip.Addr `json:"next,omitzero"`
	Done     bool       `json:"done,omitempty"`
	Lost     bool       `json:"lost,omitempty"`
	Seq      uint64     `json:"seq"` // of the last release
	Held     int        `json:"held"`
	Released int        `json:"released"`
	Sticky   int        `json:"sticky,omitempty"` // keys in TableSticky that TableMemory has
}

// A stickyRecord is what a sticky key stands for. Seq is 0 in records of a time
// when TableMemory was not there; they are the address alone.
type stickyRecord struct {
	Addr netip.Addr `json:"addr"`
	Seq  uint64     `json:"seq"`
}

func (r poolRecord) cursor() Cursor { return Cursor{Addr: r.Next, Done: r.Done, Lost: r.Lost} }

func (r *poolRecord) setCursor(c Cursor) { r.Next, r.Done, r.Lost = c.Addr, c.Done, c.Lost }

// textKey returns the parts, each ended by a NUL.
func textKey(parts ...string) []byte {
	var b []byte
	for _, p := range parts {
		b = append(b, p...)
		b = append(b, 0)
	}
	return b
}

func (k Key) encode() []byte { return textKey(k.Network, k.ContainerID, k.IfName) }

func (k poolKey) encode() []byte { return textKey(k.Network, k.Name) }

func addrKey(network string, a netip.Addr) []byte {
	return append(textKey(network), a.AsSlice()...)
}

func releasedKey(p poolKey, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(p.encode(), seq)
}

func stickyRecordKey(p poolKey, sticky string) []byte {
	return textKey(p.Network, p.Name, sticky)
}

// decode reads a record of a table into v. The error wraps ErrCorrupt.
func decode(t Table, key, value []byte, v any) error {
	if err := json.Unmarshal(value, v); err != nil {
		return fmt.Errorf("table %s key %q: %w: %w", t, key, ErrCorrupt, err)
	}
	return nil
}

// decodeAddr reads an address as a value of TableReleased or TableSticky.
func decodeAddr(t Table, key, value []byte) (netip.Addr, error) {
	a, ok := netip.AddrFromSlice(value)
	if !ok {
		return a, fmt.Errorf("table %s key %q: %w: address of %d bytes", t, key, ErrCorrupt, len(value))
	}
	return a, nil
}

// getSticky reads what a sticky key stands for and reports whether there is it.
func getSticky(tx Tx, key []byte) (r stickyRecord, found bool, err error) {
	value, err := tx.Get(TableSticky, key)
	if err != nil || value == nil {
		return r, false, err
	}
	r, err = decodeSticky(key, value)
	return r, err == nil, err
}

func decodeSticky(key, value []byte) (r stickyRecord, err error) {
	if len(value) <= net.IPv6len { // shorter than any JSON of a stickyRecord
		r.Addr, err = decodeAddr(TableSticky, key, value)
		return r, err
	}
	err = decode(TableSticky, key, value, &r)
	if err == nil && (!r.Addr.IsValid() || r.Seq == 0) {
		err = fmt.Errorf("table %s key %q: %w: address %s of release %d", TableSticky, key, ErrCorrupt, r.Addr, r.Seq)
	}
	return r, err
}

// getJSON reads a record and reports whether there is one.
func getJSON(tx Tx, t Table, key []byte, v any) (bool, error) {
	value, err := tx.Get(t, key)
	if err != nil || value == nil {
		return false, err
	}
	return true, decode(t, key, value, v)
}

func putJSON(tx Tx, t Table, key []byte, v any) error {
	value, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode record of table %s: %w", t, err)
	}
	return tx.Put(t, key, value)
}
