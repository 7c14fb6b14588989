// Package logfile keeps a log that others have opened from growing for ever.
//
// launchd, and a shell that redirects, open a log once, and every process that they
// start shares that descriptor: whoever renames the file, as newsyslog(8) and
// logrotate(8) do, only has the log go on under another name. So the file stays, and
// is cut in place.
package logfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// A Writer appends to a file that is shared with other processes. When the file has
// reached its bound, the older part of it goes, and a line says so. What others write
// in that moment may stand before the part that is left.
type Writer struct {
	mu      sync.Mutex // guards all following fields
	f       *os.File
	max     int64
	written int64 // since the size was looked at
}

// Bound returns a writer to f that keeps the file between max/4 and max bytes, and a
// bit more: of what was written since, other processes' lines are not counted at
// once. It returns f itself, which it leaves alone, for a max of 0 and where f is not
// a file that is appended to. f stays the caller's.
func Bound(f *os.File, max int64) io.Writer {
	if max <= 0 || !appended(f) {
		return f
	}
	return &Writer{f: f, max: max, written: max} // it may be too long already
}

// appended reports whether f is a regular file and every write goes to its end,
// wherever that is.
func appended(f *os.File) bool {
	fi, err := f.Stat()
	if err != nil || !fi.Mode().IsRegular() {
		return false
	}
	flags := 0
	raw, err := f.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { flags, _ = unix.FcntlInt(fd, unix.F_GETFL, 0) })
	}
	return err == nil && flags&unix.O_APPEND != 0
}

// Write appends p, a line of the log.
func (w *Writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.written += int64(len(p))
	if w.written > w.max/16 {
		w.written = 0
		if err := w.cut(); err != nil {
			// Better a long log than none.
			_, _ = fmt.Fprintf(w.f, "log not cut at %d bytes: %v\n", w.max, err)
		}
	}
	return w.f.Write(p)
}

// cut leaves the last quarter of a file that is too long.
func (w *Writer) cut() error {
	fi, err := w.f.Stat()
	if err != nil || fi.Size() < w.max {
		return err
	}
	tail, err := w.tail(fi)
	if err != nil {
		return err
	}
	if err := w.f.Truncate(0); err != nil {
		return err
	}
	_, err = w.f.Write(append(fmt.Appendf(nil, "log cut: %d bytes before this line are gone\n", fi.Size()-int64(len(tail))), tail...))
	return err
}

// tail returns the whole lines of the last quarter. f cannot be read: it is open for
// writing only.
func (w *Writer) tail(is os.FileInfo) ([]byte, error) {
	path, err := pathOf(w.f)
	if err != nil {
		return nil, err
	}
	r, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if fi, err := r.Stat(); err != nil || !os.SameFile(fi, is) {
		return nil, errors.Join(err, fmt.Errorf("%s: is another file now", path))
	}
	n := w.max / 4
	data, err := io.ReadAll(io.NewSectionReader(r, is.Size()-n, n))
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		data = data[i+1:]
	}
	return data, err
}
