package capture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// MinRing is the least size of a ring's file, in bytes.
const MinRing = 64 << 10

// maxBlock bounds a block of pcapng: the largest frame with its options.
const maxBlock = 1 << 20

// A Ring writes a stream of pcapng to files of bounded size, and keeps the last of
// them: name.pcapng becomes name-000001.pcapng and so on. Every file can be read by
// itself, since each begins with the section's and the interface's header. It is
// not for several goroutines.
type Ring struct {
	prefix, suffix string
	size           int64
	files          int

	pending []byte // the beginning of a block
	head    []byte // section header and interface, for every file
	blocks  int    // seen so far, up to 2
	n       int    // number of the file
	f       *os.File
	written int64
}

// NewRing returns a ring of files beside path; it makes the first with the first
// block.
func NewRing(path string, size int64, files int) (*Ring, error) {
	if size < MinRing || files < 1 {
		return nil, fmt.Errorf("ring of %d files of %d bytes: want at least one of %d", files, size, MinRing)
	}
	ext := filepath.Ext(path)
	return &Ring{prefix: strings.TrimSuffix(path, ext), suffix: ext, size: size, files: files}, nil
}

// Path returns the name of file n, counted from 1.
func (r *Ring) Path(n int) string { return fmt.Sprintf("%s-%06d%s", r.prefix, n, r.suffix) }

// Write takes a part of the stream.
func (r *Ring) Write(p []byte) (int, error) {
	r.pending = append(r.pending, p...)
	for len(r.pending) >= 8 {
		n := int(binary.LittleEndian.Uint32(r.pending[4:])) // in the byte order of NgWriter
		if n < 12 || n > maxBlock {
			return 0, fmt.Errorf("pcapng: block of %d bytes", n)
		}
		if len(r.pending) < n {
			break
		}
		if err := r.block(r.pending[:n]); err != nil {
			return 0, err
		}
		r.pending = append(r.pending[:0], r.pending[n:]...)
	}
	return len(p), nil
}

// block writes one block.
func (r *Ring) block(b []byte) error {
	if r.blocks < 2 {
		r.blocks++
		r.head = append(r.head, b...)
		if r.blocks == 2 {
			return r.next()
		}
		return nil
	}
	if r.written+int64(len(b)) > r.size && r.written > int64(len(r.head)) {
		if err := r.next(); err != nil {
			return err
		}
	}
	return r.put(b)
}

// next begins a file, and removes the oldest when there are too many.
func (r *Ring) next() error {
	if r.f != nil {
		if err := r.f.Close(); err != nil {
			return err
		}
	}
	r.n++
	f, err := os.OpenFile(r.Path(r.n), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	r.f, r.written = f, 0
	if old := r.n - r.files; old > 0 {
		if err := os.Remove(r.Path(old)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return r.put(r.head)
}

func (r *Ring) put(b []byte) error {
	n, err := r.f.Write(b)
	r.written += int64(n)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	return err
}

// Close closes the last file.
func (r *Ring) Close() error {
	if r.f == nil {
		return nil
	}
	return r.f.Close()
}
