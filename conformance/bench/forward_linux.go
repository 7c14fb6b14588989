package main

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/pkg/relay"
)

// frameSize is the largest frame of MTU 1500.
const frameSize = 1514

// runForward is the simple guest's network card: it moves frames between a tap,
// which it makes, and the socket of a contender, in batches both ways as krunkit
// and vmnet-helper do, so that it costs little beside the contender. Arguments:
// name of the tap; kind: dgram, stream or tap; path of the socket, or name of the
// other tap.
func runForward(args []string) error {
	tap, err := openTap(args[0])
	if err != nil {
		return err
	}
	defer tap.Close()
	sock, err := connect(args[1], args[2])
	if err != nil {
		return fmt.Errorf("connect %s: %w", args[2], err)
	}
	defer sock.Close()
	ended := make(chan error, 2)
	go func() { ended <- moveFrames(tap, sock) }()
	go func() { ended <- moveFrames(sock, tap) }()
	fmt.Println("forwarding")
	return <-ended
}

// openTap makes a tap.
func openTap(name string) (relay.Port, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "tap")
	req, err := unix.NewIfreq(name)
	if err == nil {
		req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return relay.NewTapPort(f, frameSize)
}

// connect connects to the socket of a contender; of kind tap, it makes another tap.
func connect(kind, path string) (relay.Port, error) {
	if kind == relay.KindTap {
		return openTap(path)
	}
	typ := unix.SOCK_STREAM
	if kind == relay.KindDatagram {
		typ = unix.SOCK_DGRAM
	}
	fd, err := unix.Socket(unix.AF_UNIX, typ|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "socket")
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 1<<20) // smaller ones do, too
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<20)
	if typ == unix.SOCK_DGRAM {
		err = unix.Bind(fd, &unix.SockaddrUnix{Name: fmt.Sprintf("%s.%d", path, os.Getpid())})
	}
	if err == nil {
		err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
	}
	if err == nil && typ == unix.SOCK_DGRAM {
		_, err = unix.Write(fd, []byte("VFKT"))
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if typ == unix.SOCK_DGRAM {
		return relay.NewDatagramPort(f, frameSize)
	}
	return relay.NewStreamPort(f, frameSize)
}

// moveFrames moves frames until an end is gone. What finds no room is lost, as on
// a wire.
func moveFrames(from, to relay.Port) error {
	bufs, sizes := make([][]byte, relay.BatchLen(frameSize)), make([]int, relay.BatchLen(frameSize))
	for i := range bufs {
		bufs[i] = make([]byte, frameSize)
	}
	out := make([][]byte, 0, len(bufs))
	for {
		n, err := from.ReadBatch(bufs, sizes)
		if err != nil {
			return err
		}
		out = out[:0]
		for i := range n {
			out = append(out, bufs[i][:sizes[i]])
		}
		_, err = to.WriteBatch(out)
		if err != nil && !errors.Is(err, relay.ErrQueueFull) && !errors.Is(err, relay.ErrFrameSize) {
			return err
		}
	}
}
