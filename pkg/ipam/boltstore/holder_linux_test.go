package boltstore

import (
	"strings"
	"testing"
)

const procLocks = `1: POSIX  ADVISORY  WRITE 2117 00:31:1234 0 EOF
2: FLOCK  ADVISORY  WRITE 4321 08:01:5678 0 EOF
2: -> FLOCK  ADVISORY  WRITE 99 08:01:5678 0 EOF
3: FLOCK  ADVISORY  WRITE x 08:01:42 0 EOF
4: FLOCK
`

func TestHolder(t *testing.T) {
	for inode, want := range map[uint64]int{5678: 4321, 1234: 0, 42: 0, 1: 0} {
		if got := lockHolder(strings.NewReader(procLocks), inode); got != want {
			t.Errorf("inode %d: process %d, want %d", inode, got, want)
		}
	}
}

func FuzzLockHolder(f *testing.F) {
	f.Add(procLocks, uint64(5678))
	f.Fuzz(func(_ *testing.T, locks string, inode uint64) { lockHolder(strings.NewReader(locks), inode) })
}
