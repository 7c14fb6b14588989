package server

import (
	"context"
	"fmt"
	"maps"
	"os"
	"strings"
	"sync"
	"syscall"

	"github.com/sirupsen/logrus"

	"github.com/vmnet-cni/vmnet/pkg/ipam"
	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/shim/keeper"
)

// A FileStore keeps descriptors for the shim that comes after this one, by names.
// *keeper.Notifier is one. Its methods may be called from several goroutines.
type FileStore interface {
	// Store keeps a duplicate of the descriptor of c, in the place of what was kept
	// under the name before.
	Store(name string, c syscall.Conn) error
	// Take notes that the descriptor of c is kept under the name already.
	Take(name string, c syscall.Conn) error
	// Remove ends the keeping of what has the name. None is no error.
	Remove(name string) error
	// Sync returns when the descriptors of all names that were removed before are
	// closed.
	Sync() error
}

// What the names of an attachment's descriptors end with, after the hash that the
// names of its sockets have too, and a dot.
const (
	fileDgram  = "d"  // the bound datagram socket
	fileStream = "s"  // the listening stream socket
	filePulled = "f"  // and a number: our end of a frame fd
	fileCaller = "c"  // and a number: a connection to the stream socket
	fileTap    = "t"  // and a number: a tap that a client gave
	fileGiven  = "g"  // and a number: a bound socket that a client gave
	fileDevice = "x." // and the driver's own name
)

// filesPrefix is what the names of an attachment's descriptors begin with.
func filesPrefix(k ipam.Key) string {
	return shim.Hash(k.Network, k.ContainerID, k.IfName) + "."
}

// A fileSet holds the descriptors that an earlier shim left of one attachment, by
// their names without the prefix, until it takes them.
type fileSet map[string]*os.File

// sorted puts what was passed on in sets by prefix. Of two with one name the later
// is the one that was stored later.
func sorted(files []keeper.File) map[string]fileSet {
	sets := map[string]fileSet{}
	for _, f := range files {
		hash, suffix, _ := strings.Cut(f.Name, ".")
		set := sets[hash+"."]
		if set == nil {
			set = fileSet{}
			sets[hash+"."] = set
		}
		if old := set[suffix]; old != nil {
			_ = old.Close()
		}
		set[suffix] = f.File
	}
	return sets
}

// takeAll tells the store what it has of an earlier shim: if the keeper dies, another
// one is given that too, also what belongs to attachments that are not back yet.
func (s *Server) takeAll() {
	if s.cfg.Files == nil {
		return
	}
	for prefix, set := range s.inherited {
		for suffix, f := range set {
			if err := s.cfg.Files.Take(prefix+suffix, f); err != nil {
				s.cfg.Log.WithError(err).Warn("will not outlive the next keeper")
			}
		}
	}
}

func (f fileSet) close() {
	for _, file := range f {
		_ = file.Close()
	}
	clear(f)
}

func closeSets(sets map[string]fileSet) {
	for _, set := range sets {
		set.close()
	}
}

// left returns what an earlier shim left of the attachment; nil: nothing.
func (s *Server) left(k ipam.Key) fileSet { return s.inherited[filesPrefix(k)] }

// A holding is what the file store has of one attachment. A nil one keeps
// nothing.
type holding struct {
	store  FileStore
	prefix string
	log    *logrus.Entry

	mu    sync.Mutex // guards all following
	names map[string]syscall.Conn
	seq   int
	ended bool
}

// startHolding gives an attachment its holding, if there is a file store. It is
// the first step of an attachment and undone last.
func (s *Server) startHolding(a *attachment) {
	k := a.rec.Key
	a.undo.addDurable("last peer", func(context.Context) error { return remove(s.state.peerFile(k)) })
	if s.cfg.Files == nil {
		return
	}
	h := &holding{store: s.cfg.Files, prefix: filesPrefix(k), log: s.logOf(k), names: map[string]syscall.Conn{}}
	a.held = h
	a.undo.addDurable("kept files", func(context.Context) error {
		left := s.left(k)
		taken := h.end()
		for suffix := range left {
			taken = taken || outlasts(suffix)
			h.drop(suffix)
		}
		left.close()
		// What the shim has said lies in the keeper's socket, also when it dies now, and
		// is obeyed in order: only who must not find a thing any more waits for it.
		if taken {
			if err := h.store.Sync(); err != nil {
				h.log.WithError(err).Debug("keeper")
			}
		}
		for _, kind := range []string{shim.FramesDgram, shim.FramesStream} {
			if err := remove(s.cfg.Dirs.Socket(k.Network, k.ContainerID, k.IfName, kind)); err != nil {
				return err
			}
		}
		return nil
	})
}

// outlived reports whether what is closed now is taken up later: by the next shim,
// or by this one when it tries again.
func (s *Server) outlived() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.leaving || s.handing || s.cfg.KeepSocket
}

// takenUp reports whether what is left in the system now, links and rules, is taken
// up later, with what the keeper has of it.
func (s *Server) takenUp() bool { return s.cfg.Files != nil && s.outlived() }

// keep has c kept. A store that is full or away is no reason to refuse a guest: it
// only means that this descriptor does not outlive the shim.
func (h *holding) keep(suffix string, c syscall.Conn) {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended {
		return
	}
	if err := h.store.Store(h.prefix+suffix, c); err != nil {
		h.log.WithError(err).Warn("will not outlive the shim")
	}
	h.names[suffix] = c
}

// take notes that c is kept already: it is what an earlier shim left.
func (h *holding) take(suffix string, c syscall.Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.names[suffix] = c
}

// drop ends the keeping.
func (h *holding) drop(suffix string) {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dropLocked(suffix)
}

func (h *holding) dropLocked(suffix string) {
	delete(h.names, suffix)
	if err := h.store.Remove(h.prefix + suffix); err != nil {
		h.log.WithError(err).Debug("keeper not told")
	}
}

// dropUnused drops what was kept by an earlier shim and is not by this one.
func (h *holding) dropUnused(suffix string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.names[suffix] == nil {
		h.dropLocked(suffix)
	}
}

// keepPeer has the socket of a peer kept under a new name and returns what ends
// that. The peer before it keeps its own until it is replaced.
func (h *holding) keepPeer(kind string, c syscall.Conn) (release func()) {
	if h == nil {
		return func() {}
	}
	h.mu.Lock()
	h.seq++
	suffix := fmt.Sprintf("%s%d", kind, h.seq)
	h.mu.Unlock()
	h.keep(suffix, c)
	return func() { h.drop(suffix) }
}

// past makes the numbers of peers go on after n.
func (h *holding) past(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seq = max(h.seq, n)
}

// end drops everything: the attachment is no more. taken says that something of it
// outlasts that until the keeper has obeyed. It is idempotent.
func (h *holding) end() (taken bool) {
	if h == nil {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ended = true
	for suffix := range maps.Clone(h.names) {
		taken = taken || outlasts(suffix)
		h.dropLocked(suffix)
	}
	return taken
}

// outlasts reports whether a descriptor of that name is more than a way to the guest:
// a tap is there, a forwarded port and the name of a client's socket are in use,
// until the last duplicate is closed.
func outlasts(suffix string) bool {
	return strings.HasPrefix(suffix, fileDevice) || strings.HasPrefix(suffix, fileTap) || strings.HasPrefix(suffix, fileGiven)
}

// follow keeps what a device says that it has, also after that has changed.
func (h *holding) follow(files map[string]*os.File) {
	h.mu.Lock()
	had := maps.Clone(h.names)
	h.mu.Unlock()
	for name, f := range files {
		suffix := fileDevice + name
		if had[suffix] != syscall.Conn(f) {
			h.keep(suffix, f)
		}
		delete(had, suffix)
	}
	for suffix := range had {
		if strings.HasPrefix(suffix, fileDevice) {
			h.drop(suffix)
		}
	}
}
