package tap

import (
	"errors"
	"os"
	"sync"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// answers shows somebody the guest's requests for configuration: a packet socket
// on the tap sees them before any rule does, and its replies go the way that
// frames of the bridge go. One goroutine.
type answers struct {
	file *os.File
	done sync.WaitGroup
	once sync.Once
}

// maxRequest is the longest request in bytes. What is longer is cut, and then
// malformed.
const maxRequest = 64 << 10

// newAnswers starts to show fn the requests, nil if there is no fn. The caller
// holds mu.
func (d *device) newAnswers(fn func(frame []byte, reply func([]byte))) (*answers, error) {
	if fn == nil {
		return nil, nil
	}
	l, err := d.net.link(d.name)
	if err != nil {
		return nil, err
	}
	f, err := packetSocket(l.Attrs().Index)
	if err != nil {
		return nil, opErr("answer on", d.name, err)
	}
	a := &answers{file: f}
	raw, err := f.SyscallConn()
	if err != nil {
		a.close()
		return nil, err
	}
	reply := func(frame []byte) {
		// The guest's queue is full, or the guest is gone: it asks again.
		_ = raw.Write(func(fd uintptr) bool { _, _ = unix.Write(int(fd), frame); return true })
	}
	a.done.Go(func() {
		buf := make([]byte, maxRequest)
		for {
			n, err := f.Read(buf)
			switch {
			case err == nil && n >= 14:
				fn(buf[:n], reply)
			case errors.Is(err, os.ErrClosed), err != nil && !errors.Is(err, unix.ENETDOWN):
				return
			}
		}
	})
	return a, nil
}

// packetSocket returns a packet socket that gets the requests which arrive by an
// interface (packet(7)).
func packetSocket(index int) (*os.File, error) {
	// Protocol 0: nothing arrives before the filter is there.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	f := os.NewFile(uintptr(fd), "requests")
	err = errors.Join(
		filter(fd),
		os.NewSyscallError("setsockopt PACKET_IGNORE_OUTGOING", unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1)),
	)
	if err == nil {
		all := uint16(unix.ETH_P_ALL)
		err = os.NewSyscallError("bind", unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all<<8 | all>>8, Ifindex: index}))
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// requests is the filter: IPv4 UDP to port 67 and no later fragment, IPv6 UDP to
// port 547, router solicitations.
var requests = []bpf.Instruction{
	bpf.LoadAbsolute{Off: 12, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_IP, SkipFalse: 7},
	bpf.LoadAbsolute{Off: 23, Size: 1}, // protocol
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_UDP, SkipTrue: 14},
	bpf.LoadAbsolute{Off: 20, Size: 2}, // fragment
	bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x1fff, SkipTrue: 12},
	bpf.LoadMemShift{Off: 14},
	bpf.LoadIndirect{Off: 16, Size: 2}, // destination port
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: 67, SkipTrue: 8, SkipFalse: 9},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.ETH_P_IPV6, SkipTrue: 8},
	bpf.LoadAbsolute{Off: 20, Size: 1}, // next header
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_UDP, SkipFalse: 2},
	bpf.LoadAbsolute{Off: 56, Size: 2}, // destination port
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: 547, SkipTrue: 3, SkipFalse: 4},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: protoICMP6, SkipTrue: 3},
	bpf.LoadAbsolute{Off: 54, Size: 1}, // type
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: routerSol, SkipTrue: 1},
	bpf.RetConstant{Val: maxRequest},
	bpf.RetConstant{Val: 0},
}

func filter(fd int) error {
	raw, err := bpf.Assemble(requests)
	if err != nil {
		return err
	}
	code := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		code[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	prog := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	return os.NewSyscallError("setsockopt SO_ATTACH_FILTER", unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &prog))
}

// close ends the answers, and waits for one under way. A nil one has none.
func (a *answers) close() {
	if a == nil {
		return
	}
	a.once.Do(func() {
		_ = a.file.Close() // nothing is lost
		a.done.Wait()
	})
}
