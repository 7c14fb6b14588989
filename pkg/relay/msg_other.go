//go:build !linux

package relay

import "golang.org/x/sys/unix"

// sendFlags are the flags of every send. Go's runtime ignores SIGPIPE on sockets.
const sendFlags = unix.MSG_DONTWAIT

// hungUp are the events of poll(2) by which a stream's peer is known to be gone.
const hungUp = unix.POLLHUP | unix.POLLERR
