package e2e_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"

	types100 "github.com/containernetworking/cni/pkg/types/100"
	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/conformance/e2e"
	"github.com/vmnet-cni/vmnet/pkg/relay"
)

// contain adds a container, which is a namespace, and returns a port through which
// the test is on its link.
func contain(t testing.TB, m *e2e.Machine, id string) (relay.Port, *types100.Result) {
	t.Helper()
	ns := newNamespace(t)
	r, err := m.Add(soon(t), id, fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), ns.file.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	var port relay.Port
	if err := ns.do(func() (err error) { port, err = openPacketPort(e2e.IfName); return err }); err != nil {
		t.Fatal(err)
	}
	return port, r
}

// A packetPort is a link of the thread's namespace, with frames of the talkers'
// EtherType only (packet(7)).
type packetPort struct{ *os.File }

func openPacketPort(name string) (relay.Port, error) {
	l, err := net.InterfaceByName(name)
	if err != nil {
		return nil, err
	}
	const localExperiment = 0xb588 // 0x88b5 in network byte order on the machines that there are
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, localExperiment)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: localExperiment, Ifindex: l.Index}); err != nil {
		return nil, errors.Join(os.NewSyscallError("bind", err), unix.Close(fd))
	}
	return packetPort{os.NewFile(uintptr(fd), name)}, nil
}

// ReadBatch implements relay.Port.
func (p packetPort) ReadBatch(bufs [][]byte, sizes []int) (n int, err error) {
	if sizes[0], err = p.Read(bufs[0]); errors.Is(err, os.ErrClosed) {
		err = net.ErrClosed
	}
	if err != nil {
		return 0, err
	}
	return 1, nil
}

// WriteBatch implements relay.Port.
func (p packetPort) WriteBatch(frames [][]byte) (int, error) {
	for i, f := range frames {
		if n, err := p.Write(f); err != nil {
			return i, err
		} else if n < len(f) {
			return i, io.ErrShortWrite
		}
	}
	return len(frames), nil
}

// Kind implements relay.Port.
func (p packetPort) Kind() string { return relay.KindTap }
