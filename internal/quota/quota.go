// Package quota bounds how much of something guests hold, in all and each of them, so
// that no guest takes it from the others.
package quota

import "sync"

// A Quota counts what is held by K, a guest. Its methods may be called from several
// goroutines.
type Quota[K comparable] struct {
	all, each int

	mu   sync.Mutex // guards all following
	used int
	by   map[K]int // of each guest that has some
}

// New returns a quota of all in all, of which one guest has each at most.
func New[K comparable](all, each int) *Quota[K] {
	return &Quota[K]{all: all, each: each, by: map[K]int{}}
}

// Take takes one for who, or reports that there is none for it.
func (q *Quota[K]) Take(who K) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.used >= q.all || q.by[who] >= q.each {
		return false
	}
	q.used++
	q.by[who]++
	return true
}

// Give gives one back that who took.
func (q *Quota[K]) Give(who K) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.used--
	if q.by[who]--; q.by[who] == 0 {
		delete(q.by, who)
	}
}
