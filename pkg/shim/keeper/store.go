package keeper

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// maxNames bounds the names of all descriptors together, in bytes.
const maxNames = 100 << 10

// A kept descriptor. It is a bare number and no os.File: Go's poller would be
// woken by every frame that waits in one of these sockets.
type kept struct {
	name string
	fd   int
}

// A store holds descriptors by name. It owns them. One goroutine uses it at a
// time.
type store struct {
	max    int // descriptors
	all    []kept
	names  int // bytes, one for the separator of each included
	denied int // descriptors that found no room, ever
}

// put keeps fds under name, or closes those for which there is no room.
func (s *store) put(name string, fds []int) (err error) {
	for _, fd := range fds {
		if s.has(name, fd) {
			_ = unix.Close(fd)
			continue
		}
		if len(s.all) >= s.max || s.names+len(name)+1 > maxNames {
			_ = unix.Close(fd)
			s.denied++
			err = fmt.Errorf("keep %s: %d descriptors with names of %d bytes are kept, the limit", name, len(s.all), s.names)
			continue
		}
		s.all = append(s.all, kept{name, fd})
		s.names += len(name) + 1
	}
	return err
}

// has reports whether the open file of fd is kept under name already, as systemd
// does; where the system does not tell, it is kept twice.
func (s *store) has(name string, fd int) bool {
	var a, b unix.Stat_t
	for _, k := range s.all {
		if k.name == name && unix.Fstat(fd, &a) == nil && unix.Fstat(k.fd, &b) == nil && a.Ino != 0 && a.Dev == b.Dev && a.Ino == b.Ino {
			return true
		}
	}
	return false
}

// remove closes what is kept under name.
func (s *store) remove(name string) {
	s.all = slices.DeleteFunc(s.all, func(k kept) bool {
		if k.name != name {
			return false
		}
		_ = unix.Close(k.fd)
		s.names -= len(name) + 1
		return true
	})
}

// close closes everything.
func (s *store) close() {
	closeAll(s.fds())
	s.all, s.names = nil, 0
}

func (s *store) fds() []int {
	fds := make([]int, len(s.all))
	for i, k := range s.all {
		fds[i] = k.fd
	}
	return fds
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd) // it was only held
	}
}
