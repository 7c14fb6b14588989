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

// runtimeSocket looks at what CNI_NETNS names and returns a connection when it
// is a stream socket on which somebody listens: the runtime waits there for the
// frame fd. Everything else is a name that only the runtime understands, nil;
// but a network namespace is refused, since a container in it would get
// nothing.
//
// The file is never opened: a FIFO would block, and a namespace can vanish. The
// connection is made before anything is created and used after, so that a
// runtime sees one connection and no probe.
func runtimeSocket(ctx context.Context, netns string) (*net.UnixConn, error) {
	info, err := os.Stat(netns)
	if err != nil {
		return nil, nil // opaque
	}
	if info.Mode().Type() != fs.ModeSocket {
		if isNamespace(netns) {
			return nil, errorf(codeEnv, "CNI_NETNS %q: is a network namespace: not supported yet: want a socket on which the runtime listens, or a name of the machine", netns)
		}
		return nil, nil
	}
	conn, err := handover.Connect(ctx, netns)
	switch {
	case err == nil:
		return conn, nil
	case errors.Is(err, syscall.ECONNREFUSED), // nobody listens
		errors.Is(err, syscall.EPROTOTYPE), // a datagram socket: no hand-over is possible
		errors.Is(err, fs.ErrNotExist):
		return nil, nil
	}
	return nil, errorf(codeEnv, "CNI_NETNS %q: a socket, but no connection: %w", netns, err)
}
