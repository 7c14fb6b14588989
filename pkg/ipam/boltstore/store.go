// Package boltstore keeps the leases of package ipam in one bbolt file.
//
// Each allocation and each release is one bbolt transaction, which is on disk
// when it returns, or Config.SyncAfter later: a process killed at any instant leaves
// the file as the last
// finished transaction left it. What does break a file is the medium, a foreign
// hand, a file system that lies about fsync, or a machine that loses power before
// SyncAfter is over. Open therefore reads and checks
// the whole file (ipam.Verify), and sets a damaged one aside.
//
// One process at a time has the file.
package boltstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/vmnet-cni/vmnet/pkg/ipam"
)

// DefaultTimeout is how long Open waits for a file that another process has.
const DefaultTimeout = 5 * time.Second

// Config is how a store is opened. The zero value is good.
type Config struct {
	// Timeout bounds the wait for the file's lock. Zero: DefaultTimeout.
	Timeout time.Duration
	// OnDamage is told of a damaged file after it was set aside, before Open
	// returns a store on a new one. Nil: nobody is told.
	OnDamage func(Damage)
	// SyncAfter is how long what a transaction wrote may be in the system's memory
	// only. A kill of the process still loses nothing; a crash of the machine within
	// it may damage the file, which Open finds. Zero: a transaction is on disk when
	// it returns.
	SyncAfter time.Duration
	// NoSync leaves out fsync: a kill of the process still loses nothing, a
	// crash of the machine may damage the file. For tests.
	NoSync bool
}

// Damage says what was found in a file that was set aside.
type Damage struct {
	Path    string // where the file was
	SavedAs string // where it is now
	Err     error  // what is wrong with it
}

// Conditions that callers branch on, with errors.Is.
var (
	// ErrLocked says that another process has the file.
	ErrLocked = errors.New("file is in use")
	// ErrVersion says that a newer or a foreign program made the file. It is
	// left as it is.
	ErrVersion = errors.New("not a lease file of this version")
)

// A Store is an ipam.Store in a file. Close it.
type Store struct {
	db     *bolt.DB
	writer chan struct{} // holds a token while a transaction writes

	after   time.Duration // Config.SyncAfter
	syncing sync.WaitGroup
	mu      sync.Mutex  // guards timer, closed and syncErr
	timer   *time.Timer // syncs, if not nil
	closed  bool
	syncErr error // told by the next transaction that writes, or Close

	closeOnce sync.Once
	closeErr  error
}

var _ ipam.Store = (*Store)(nil)

// rootBucket holds the buckets of all tables. The number is the version of what
// they hold; a program that changes the meaning of a record takes the next one
// and brings the records over.
const rootBucket = "ipam/1"

// Transact implements ipam.Store.
func (s *Store) Transact(ctx context.Context, access ipam.Access, fn func(ipam.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if access == ipam.ReadOnly {
		return storeError(s.db.View(inRoot(fn)))
	}
	select {
	case s.writer <- struct{}{}:
		defer func() { <-s.writer }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := s.lateError(); err != nil {
		return err
	}
	defer s.syncLater()
	return storeError(s.db.Update(inRoot(fn)))
}

// syncLater has what was written synced after s.after.
func (s *Store) syncLater() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.after <= 0 || s.timer != nil || s.closed {
		return
	}
	s.syncing.Add(1)
	s.timer = time.AfterFunc(s.after, func() {
		defer s.syncing.Done()
		s.mu.Lock()
		s.timer = nil // what is written from here on is synced by the next
		s.mu.Unlock()
		if err := s.db.Sync(); err != nil {
			s.mu.Lock()
			s.syncErr = err
			s.mu.Unlock()
		}
	})
}

// lateError returns, once, why an earlier transaction did not come to the disk.
func (s *Store) lateError() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.syncErr
	s.syncErr = nil
	if err != nil {
		return fmt.Errorf("sync %s: %w", s.db.Path(), err)
	}
	return nil
}

// close ends the late syncing, syncs what is left, and closes the file.
func (s *Store) close() error {
	s.mu.Lock()
	s.closed = true
	left := s.timer != nil && s.timer.Stop()
	s.mu.Unlock()
	var err error
	if left {
		err = s.db.Sync()
		s.syncing.Done()
	}
	s.syncing.Wait()
	return errors.Join(err, s.lateError(), s.db.Close())
}

// inRoot runs fn on the tables of a transaction.
func inRoot(fn func(ipam.Tx) error) func(*bolt.Tx) error {
	return func(btx *bolt.Tx) error {
		root := btx.Bucket([]byte(rootBucket))
		if root == nil {
			return fmt.Errorf("bucket %s: not there: %w", rootBucket, ipam.ErrCorrupt)
		}
		return fn(tx{root: root, buckets: make(map[ipam.Table]*bolt.Bucket, len(ipam.Tables()))})
	}
}

// storeError translates the one error of bbolt that callers know by another name.
func storeError(err error) error {
	if errors.Is(err, berrors.ErrDatabaseNotOpen) {
		return ipam.ErrClosed
	}
	return err
}

// Path returns the path of the file.
func (s *Store) Path() string { return s.db.Path() }

// Close implements ipam.Store. It gives the lock of the file back.
func (s *Store) Close() error {
	s.closeOnce.Do(func() { s.closeErr = s.close() })
	return s.closeErr
}
