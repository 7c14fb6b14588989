package boltstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"os"

	"github.com/vmnet-cni/vmnet/pkg/ipam"
)

// The layout of a bbolt file, version 2 (go.etcd.io/bbolt/internal/common,
// page.go, meta.go and bucket.go; unchanged since 2014). Numbers are in the byte
// order of the machine, little-endian wherever this program runs. bbolt itself
// trusts what it reads: a bad page number makes it panic, read outside its
// mapping, or recurse for ever, and that ends the process. So the file is checked
// before bbolt sees it.
const (
	pageHeader = 16 // id u64, flags u16, count u16, overflow u32
	elemSize   = 16 // of branch pages: pos, ksize u32, page u64; of leaves: flags, pos, ksize, vsize u32
	metaSize   = 64 // magic, version, page size, flags u32, root, sequence, freelist, end, txid, checksum u64

	flagBranch   = 0x01
	flagLeaf     = 0x02
	flagMeta     = 0x04
	flagFreelist = 0x10
	flagBucket   = 0x01 // of a leaf's element

	magic   = 0xED0CDAED
	version = 2

	minPages = 4 // two metas, freelist, root: what a new file has
)

var le = binary.LittleEndian

// A meta is what a meta page says.
type meta struct {
	pageSize            uint64
	root, freelist, end uint64 // pages; end is the first that is not used
	txid                uint64
}

// unfinished reports whether data is the begin of a file that its maker did not
// finish, so that it never held a record.
func unfinished(data []byte) bool {
	head := make([]byte, 24)
	le.PutUint16(head[8:], flagMeta)
	le.PutUint32(head[16:], magic)
	le.PutUint32(head[20:], version)
	return len(data) < minPages*os.Getpagesize() && bytes.HasPrefix(data, head[:min(len(data), len(head))])
}

// checkFormat returns an error that wraps ipam.ErrCorrupt unless data is a bbolt
// file in which every page is used once or free, and every element lies within
// its page, in order.
func checkFormat(data []byte) error {
	m, err := newestMeta(data)
	if err == nil {
		err = m.check(data)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ipam.ErrCorrupt, err)
	}
	return nil
}

// newestMeta returns the meta that bbolt will use: the valid one of the later
// transaction.
func newestMeta(data []byte) (best meta, err error) {
	m, ok := readMeta(data, 0)
	if ok {
		best = m
	}
	// Where the second lies depends on the page size, which only the first tells.
	for size := uint64(1 << 10); size <= 1<<24; size <<= 1 {
		if m, valid := readMeta(data, size); valid && m.pageSize == size && (!ok || best.pageSize == size && m.txid > best.txid) {
			best, ok = m, true
		}
	}
	if !ok {
		return meta{}, errors.New("no valid meta page")
	}
	return best, nil
}

func readMeta(data []byte, at uint64) (m meta, ok bool) {
	if at+pageHeader+metaSize > uint64(len(data)) {
		return m, false
	}
	b := data[at+pageHeader:][:metaSize]
	sum := fnv.New64a()
	_, _ = sum.Write(b[:metaSize-8])
	m = meta{
		pageSize: uint64(le.Uint32(b[8:])),
		root:     le.Uint64(b[16:]), freelist: le.Uint64(b[32:]),
		end: le.Uint64(b[40:]), txid: le.Uint64(b[48:]),
	}
	sizeOK := m.pageSize >= 1<<10 && m.pageSize <= 1<<24 && m.pageSize&(m.pageSize-1) == 0
	ok = le.Uint32(b) == magic && le.Uint32(b[4:]) == version && le.Uint64(b[56:]) == sum.Sum64() && sizeOK
	return m, ok
}

func (m meta) check(data []byte) error {
	if m.end < minPages || m.end > uint64(len(data))/m.pageSize {
		return fmt.Errorf("%d pages of %d bytes in a file of %d bytes", m.end, m.pageSize, len(data))
	}
	w := &walker{data: data, size: m.pageSize, used: make([]bool, m.end)}
	for id := range uint64(2) { // one may be out of date, or torn, behind its header
		if b := data[id*m.pageSize:]; le.Uint64(b) != id || le.Uint16(b[8:]) != flagMeta {
			return fmt.Errorf("page %d: not a meta page", id)
		}
		w.used[id] = true
	}
	if err := w.freelist(m.freelist); err != nil {
		return err
	}
	if err := w.tree(m.root, nil, nil); err != nil {
		return err
	}
	if i := bytes.IndexByte(boolBytes(w.used), 0); i >= 0 {
		return fmt.Errorf("page %d: neither used nor free", i)
	}
	return nil
}

func boolBytes(bs []bool) []byte {
	out := make([]byte, len(bs))
	for i, b := range bs {
		if b {
			out[i] = 1
		}
	}
	return out
}
