package relay

// A queuer tells how many bytes wait in its socket: in, which the guest has sent and
// the relay has not read, and out, which the guest has not read.
//
//	system  in                                      out
//	------  --------------------------------------  -----------------------------------
//	Linux   all of a stream; of datagrams the first all, with what the kernel adds to
//	        (SIOCINQ, unix(7))                      each (SIOCOUTQ)
//	macOS   all (FIONREAD)                          0: it is in the guest's socket
type queuer interface {
	queued() (in, out int)
}

var (
	_ queuer = (*dgramPort)(nil)
	_ queuer = (*streamPort)(nil)
	_ queuer = (*namedLink)(nil)
)

// queued implements queuer. A closed socket has nothing.
func (s *sock) queued() (in, out int) {
	_ = s.raw.Control(func(fd uintptr) { in, out = queuedIn(int(fd)) }) // fails when closed
	return in, out
}

// queued implements queuer. The named socket has one peer at a time.
func (n *namedLink) queued() (in, out int) { return n.l.s.queued() }
