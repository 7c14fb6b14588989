package boltstore

import (
	"bytes"
	"errors"
	"fmt"
)

// A walker marks the pages of a bbolt file that it found a use for. It visits a
// page once at most, so that a walk ends whatever the file says.
type walker struct {
	data []byte
	size uint64 // of a page, in bytes
	used []bool // by page
}

// A page is the bytes of a page with its overflow pages, and its header.
type page struct {
	id    uint64
	data  []byte
	flags uint16
	count int
}

// take returns page id and marks it and its overflow pages used.
func (w *walker) take(id uint64) (page, error) {
	if id < 2 || id >= uint64(len(w.used)) {
		return page{}, fmt.Errorf("page %d: want one of 2 to %d", id, len(w.used)-1)
	}
	b := w.data[id*w.size:]
	last := id + uint64(le.Uint32(b[12:]))
	if le.Uint64(b) != id || last >= uint64(len(w.used)) {
		return page{}, fmt.Errorf("page %d: calls itself %d to %d", id, le.Uint64(b), last)
	}
	for i := id; i <= last; i++ {
		if err := w.mark(i); err != nil {
			return page{}, err
		}
	}
	return newPage(id, w.data[id*w.size:(last+1)*w.size]), nil
}

func newPage(id uint64, b []byte) page {
	return page{id: id, data: b, flags: le.Uint16(b[8:]), count: int(le.Uint16(b[10:]))}
}

func (w *walker) mark(id uint64) error {
	if id >= uint64(len(w.used)) {
		return fmt.Errorf("page %d: there are %d", id, len(w.used))
	}
	if w.used[id] {
		return fmt.Errorf("page %d: used twice", id)
	}
	w.used[id] = true
	return nil
}

// freelist marks the free pages, and the page that lists them.
func (w *walker) freelist(id uint64) error {
	p, err := w.take(id)
	if err != nil {
		return fmt.Errorf("freelist: %w", err)
	}
	if p.flags != flagFreelist {
		return fmt.Errorf("page %d: flags %#x, want a freelist", id, p.flags)
	}
	ids, count := p.data[pageHeader:], uint64(p.count)
	if p.count == 0xFFFF { // the number did not fit; it comes first
		count, ids = le.Uint64(ids), ids[8:]
	}
	if count > uint64(len(ids))/8 {
		return fmt.Errorf("page %d: lists %d free pages in %d bytes", id, count, len(ids))
	}
	for ; count > 0; count, ids = count-1, ids[8:] {
		if err := w.mark(le.Uint64(ids)); err != nil {
			return fmt.Errorf("freelist: %w", err)
		}
	}
	return nil
}

// tree checks the page and those below it. Keys are at least low, and less than
// high unless that is nil.
func (w *walker) tree(id uint64, low, high []byte) error {
	p, err := w.take(id)
	if err != nil {
		return err
	}
	switch p.flags {
	case flagBranch:
		return w.branch(p, low, high)
	case flagLeaf:
		return w.leaf(p, low, high, false)
	}
	return fmt.Errorf("page %d: flags %#x, want a branch or a leaf", id, p.flags)
}

func (w *walker) branch(p page, low, high []byte) error {
	if p.count == 0 {
		return fmt.Errorf("page %d: branch without elements", p.id)
	}
	elems, err := p.elements(func(e []byte) (pos, ksize, vsize uint32) { return le.Uint32(e), le.Uint32(e[4:]), 0 }, low, high)
	if err != nil {
		return err
	}
	for i, e := range elems {
		next := high
		if i+1 < len(elems) {
			next = elems[i+1].key
		}
		if err := w.tree(le.Uint64(e.head[8:]), e.key, next); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) leaf(p page, low, high []byte, inline bool) error {
	elems, err := p.elements(func(e []byte) (pos, ksize, vsize uint32) {
		return le.Uint32(e[4:]), le.Uint32(e[8:]), le.Uint32(e[12:])
	}, low, high)
	if err != nil {
		return err
	}
	for _, e := range elems {
		switch flags := le.Uint32(e.head); {
		case flags == 0:
		case flags != flagBucket || inline:
			return fmt.Errorf("page %d: element with flags %#x", p.id, flags)
		default:
			if err := w.bucket(p.id, e.value); err != nil {
				return err
			}
		}
	}
	return nil
}

// bucket checks the value of a bucket's element: its root page and a number,
// then, if there is no root page, the page itself.
func (w *walker) bucket(id uint64, value []byte) error {
	if len(value) < 16 {
		return fmt.Errorf("page %d: bucket of %d bytes", id, len(value))
	}
	if root := le.Uint64(value); root != 0 {
		return w.tree(root, nil, nil)
	}
	if len(value) < 16+pageHeader {
		return fmt.Errorf("page %d: inline bucket of %d bytes", id, len(value))
	}
	p := newPage(id, value[16:])
	if p.flags != flagLeaf {
		return fmt.Errorf("page %d: inline bucket with flags %#x", id, p.flags)
	}
	return w.leaf(p, nil, nil, true)
}

// An element is one entry of a page.
type element struct{ head, key, value []byte }

// elements returns the entries of a page; sizes reads where an entry's key lies,
// counted from the entry, and how long key and value are.
func (p page) elements(sizes func(head []byte) (pos, ksize, vsize uint32), low, high []byte) ([]element, error) {
	if p.count*elemSize > len(p.data)-pageHeader {
		return nil, fmt.Errorf("page %d: %d elements in %d bytes", p.id, p.count, len(p.data))
	}
	elems := make([]element, p.count)
	for i := range elems {
		at := pageHeader + i*elemSize
		head := p.data[at:][:elemSize]
		pos, ksize, vsize := sizes(head)
		first := uint64(at) + uint64(pos)
		mid, last := first+uint64(ksize), first+uint64(ksize)+uint64(vsize)
		if first < uint64(pageHeader+p.count*elemSize) || last > uint64(len(p.data)) {
			return nil, fmt.Errorf("page %d: element %d at %d to %d of %d", p.id, i, first, last, len(p.data))
		}
		elems[i] = element{head: head, key: p.data[first:mid], value: p.data[mid:last]}
		if err := inOrder(elems[:i+1], low, high); err != nil {
			return nil, fmt.Errorf("page %d: element %d: %w", p.id, i, err)
		}
	}
	return elems, nil
}

// inOrder checks the key of the last element against its neighbours.
func inOrder(elems []element, low, high []byte) error {
	i := len(elems) - 1
	key := elems[i].key
	if i > 0 && bytes.Compare(elems[i-1].key, key) >= 0 || bytes.Compare(key, low) < 0 || high != nil && bytes.Compare(key, high) >= 0 {
		return errors.New("key is out of order")
	}
	return nil
}
