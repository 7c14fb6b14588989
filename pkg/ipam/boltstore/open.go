package boltstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime/debug"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/vmnet-cni/vmnet/pkg/ipam"
)

// openAttempts bounds how often Open begins anew because the file was replaced
// under it, which takes another process that sets the same file aside.
const openAttempts = 4

// errReplaced says that path no longer is the file that was opened.
var errReplaced = errors.New("file was replaced")

// Open opens the file at path, or makes it with mode 0600. The directory must be
// there. A damaged file is renamed, cfg.OnDamage told, and a new one begun.
// Errors: ErrLocked when another process has the file for longer than
// cfg.Timeout, ErrVersion, and those of the file system.
func Open(path string, cfg Config) (*Store, error) {
	if cfg.Timeout <= 0 {
		cfg.Timeout = DefaultTimeout
	}
	deadline := time.Now().Add(cfg.Timeout)
	err := errReplaced
	for i := 0; i < openAttempts && errors.Is(err, errReplaced); i++ {
		var s *Store
		if s, err = openOnce(path, cfg, deadline); err == nil {
			return s, nil
		}
	}
	return nil, fmt.Errorf("open leases %s: %w", path, err)
}

// openOnce opens what is at path now. While it works on the file it has the
// file's lock, which bbolt then goes on to hold: a lock of flock(2) belongs to
// the open file, and bbolt gets that very one.
func openOnce(path string, cfg Config, deadline time.Time) (*Store, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := prepare(f, path, cfg, deadline); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	db, err := openDB(f, path, cfg)
	if err == nil {
		return &Store{db: db, writer: make(chan struct{}, 1), after: cfg.SyncAfter}, nil
	}
	if !errors.Is(err, ipam.ErrCorrupt) {
		return nil, err
	}
	// Closing gave the lock back, so that somebody else may be at the file by
	// now; take it again, and see whether it still is the same file.
	return nil, setAsideAgain(path, cfg, deadline, err)
}

// prepare locks the file and sees to it that bbolt may read it.
func prepare(f *os.File, path string, cfg Config, deadline time.Time) error {
	if info, err := f.Stat(); err != nil {
		return err
	} else if !info.Mode().IsRegular() {
		return fmt.Errorf("%v: want a regular file", info.Mode())
	}
	if err := lock(f, deadline); err != nil {
		if errors.Is(err, ErrLocked) {
			err = fmt.Errorf("%w%s; waited %v", err, holder(f), cfg.Timeout)
		}
		return err
	}
	if err := stillAt(path, f); err != nil {
		return err
	}
	data, err := io.ReadAll(f)
	switch {
	case err != nil:
		return err
	case unfinished(data):
		return f.Truncate(0)
	}
	if err := checkFormat(data); err != nil {
		return setAside(path, cfg, err)
	}
	return nil
}

// stillAt returns errReplaced if path does not name f.
func stillAt(path string, f *os.File) error {
	mine, err := f.Stat()
	if err != nil {
		return err
	}
	there, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(mine, there) {
		return errReplaced
	}
	return err
}

// openDB gives the file to bbolt, which owns it from then on, and reads all
// records. A panic of bbolt, and a fault when the medium cannot be read, become
// an error that wraps ipam.ErrCorrupt.
func openDB(f *os.File, path string, cfg Config) (db *bolt.DB, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", ipam.ErrCorrupt, r)
		}
		if err != nil && db != nil {
			err = errors.Join(err, db.Close())
		} else if err != nil {
			_ = f.Close() // bbolt may have closed it, or not, if it panicked
		}
	}()
	db, err = bolt.Open(path, 0o600, &bolt.Options{
		// The lock is ours already; this only bounds a surprise.
		Timeout:      time.Second,
		FreelistType: bolt.FreelistMapType,
		NoStatistics: true,
		NoSync:       cfg.NoSync || cfg.SyncAfter > 0,
		NoGrowSync:   cfg.NoSync || cfg.SyncAfter > 0, // what syncs the pages syncs the length
		OpenFile:     func(string, int, os.FileMode) (*os.File, error) { return f, nil },
	})
	if err != nil {
		return nil, corrupt(err)
	}
	if err := makeTables(db); err != nil {
		return db, err
	}
	return db, db.View(inRoot(ipam.Verify))
}

// corrupt makes those errors of bbolt match ipam.ErrCorrupt that are about the
// content of the file.
func corrupt(err error) error {
	for _, bad := range [...]error{berrors.ErrInvalid, berrors.ErrChecksum, berrors.ErrVersionMismatch} {
		if errors.Is(err, bad) {
			return fmt.Errorf("%w: %w", ipam.ErrCorrupt, err)
		}
	}
	return err
}

// makeTables makes the buckets of a new file.
func makeTables(db *bolt.DB) error {
	complete := false
	err := db.View(func(tx *bolt.Tx) error {
		root := tx.Bucket([]byte(rootBucket))
		if complete = root != nil; !complete {
			return onlyRoot(tx)
		}
		for _, t := range ipam.Tables() {
			complete = complete && root.Bucket([]byte(t)) != nil
		}
		return nil
	})
	if err != nil || complete {
		return err
	}
	return db.Update(func(tx *bolt.Tx) error {
		root, err := tx.CreateBucketIfNotExists([]byte(rootBucket))
		for _, t := range ipam.Tables() {
			if err == nil {
				_, err = root.CreateBucketIfNotExists([]byte(t))
			}
		}
		return err
	})
}

// onlyRoot returns ErrVersion if the file has buckets, none of them ours.
func onlyRoot(tx *bolt.Tx) error {
	if name, _ := tx.Cursor().First(); name != nil {
		return fmt.Errorf("bucket %q: want %q: %w", name, rootBucket, ErrVersion)
	}
	return nil
}

// lock locks the file, as bbolt does, until deadline.
func lock(f *os.File, deadline time.Time) error {
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := tryLock(f)
		if ok || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ErrLocked
		}
	}
}
