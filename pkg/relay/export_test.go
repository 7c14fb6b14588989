package relay

import (
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// NewPlainDatagramPort is NewDatagramPort with the portable system calls.
func NewPlainDatagramPort(f *os.File, maxFrame int) (Port, error) {
	s, err := fromFile(f, maxFrame, unix.SOCK_DGRAM)
	if err != nil {
		return nil, err
	}
	return newDgramPort(s, true), nil
}

// ListenPlainDatagram is ListenDatagram with the portable system calls.
func (r *Relay) ListenPlainDatagram(c *net.UnixConn) error { return r.listenDatagram(c, true) }
