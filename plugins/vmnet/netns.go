package main

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"syscall"

	"github.com/vmnet-cni/vmnet/pkg/handover"
)

// A place is what CNI_NETNS names, as far as it says where the frames go: a socket
// on which the runtime waits for the frame fd, or a network namespace. Neither:
// a name that only the runtime understands.
type place struct {
	conn *net.UnixConn // the runtime's; nil: none
	ns   *os.File      // a network namespace; nil: none
}

func (p place) Close() {
	if p.conn != nil {
		_ = p.conn.Close() // what was to be said on it was said and answered
	}
	if p.ns != nil {
		_ = p.ns.Close() // only a reference
	}
}

// findPlace looks at what CNI_NETNS names. A file is opened only when it is a
// namespace: a FIFO would block. The connection is made before anything is created
// and used after, so that a runtime sees one connection and no probe. The caller
// closes the place.
func findPlace(ctx context.Context, netns string) (place, error) {
	info, err := os.Stat(netns)
	if err != nil {
		return place{}, nil // opaque
	}
	if info.Mode().Type() != fs.ModeSocket {
		ns, err := openNamespace(netns)
		if err != nil {
			return place{}, errorf(codeEnv, "CNI_NETNS %q: %w", netns, err)
		}
		return place{ns: ns}, nil
	}
	conn, err := handover.Connect(ctx, netns)
	switch {
	case err == nil:
		return place{conn: conn}, nil
	case errors.Is(err, syscall.ECONNREFUSED), // nobody listens
		errors.Is(err, syscall.EPROTOTYPE), // a datagram socket: no hand-over is possible
		errors.Is(err, fs.ErrNotExist):
		return place{}, nil
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled): // it does not accept
		return place{}, errorf(codeTryAgain, "CNI_NETNS %q: %w", netns, err)
	}
	return place{}, errorf(codeEnv, "CNI_NETNS %q: a socket, but no connection: %w", netns, err)
}
