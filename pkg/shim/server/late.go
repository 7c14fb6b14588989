package server

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// syncLate is how long the record of an attachment or of a network, or its removal,
// may be in the kernel's memory only. A shim that is killed loses nothing by that. A machine that
// loses power loses its guests too, and then what was written in the last second: a
// lease without its record is released at the next start, a torn record set aside.
// Waiting for the disk instead was a third of an ADD, and more with macOS's
// F_FULLFSYNC.
const syncLate = time.Second

// A lateSync brings files to the disk some time after they were written. The zero
// value is good.
type lateSync struct {
	mu    sync.Mutex // guards all following
	paths map[string]bool
	timer *time.Timer
	wg    sync.WaitGroup
	err   error // the first that nobody was told
}

// note has path, and the directory it is in, synced within syncLate. The path of
// a file that is gone by then is fine.
func (l *lateSync) note(path string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.paths == nil {
		l.paths = map[string]bool{}
		l.wg.Add(1)
		l.timer = time.AfterFunc(syncLate, func() {
			defer l.wg.Done()
			l.sync()
		})
	}
	l.paths[path], l.paths[filepath.Dir(path)] = true, true
}

func (l *lateSync) sync() {
	l.mu.Lock()
	paths := l.paths
	l.paths = nil
	l.mu.Unlock()
	var errs []error
	for p := range paths {
		if err := syncFile(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		l.mu.Lock()
		l.err = errors.Join(l.err, err)
		l.mu.Unlock()
	}
}

// flush syncs what is left and returns what went wrong since the last flush.
func (l *lateSync) flush() error {
	l.mu.Lock()
	stopped := l.timer != nil && l.timer.Stop() && l.paths != nil
	l.mu.Unlock()
	if stopped {
		l.sync()
		l.wg.Done()
	}
	l.wg.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.err
	l.err = nil
	return err
}

// syncFile makes a file's content durable, or a directory's entries (fsync(2)).
func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
