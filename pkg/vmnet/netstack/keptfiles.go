package netstack

import (
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

var _ vmnet.FileHolder = (*device)(nil)

// Files implements vmnet.FileHolder: the host's sockets of the forwarding rules. A
// process that takes over listens without a moment in which a connection is
// refused, or in which somebody else takes the port.
func (d *device) Files() map[string]*os.File {
	fs := d.forwards
	fs.mu.Lock()
	defer fs.mu.Unlock()
	files := map[string]*os.File{}
	for _, f := range fs.rules {
		if f.file != nil {
			files[fileName(f.rule)] = f.file
		}
	}
	return files
}

// OnFiles implements vmnet.FileHolder.
func (d *device) OnFiles(fn func()) {
	d.forwards.mu.Lock()
	defer d.forwards.mu.Unlock()
	d.forwards.onFiles = fn
}

// changed tells that rules came or went; nobody holds mu.
func (fs *forwards) changed() {
	fs.mu.Lock()
	fn := fs.onFiles
	fs.mu.Unlock()
	if fn != nil {
		fn()
	}
}

// fileName is the name of a rule's socket: "tcp-all-80", "udp-7f000001-53".
func fileName(f vmnet.Forward) string {
	addr := "all"
	if a := f.External.Addr(); a.IsValid() {
		addr = hex.EncodeToString(a.AsSlice())
	}
	return fmt.Sprintf("%s-%s-%d", f.Protocol, addr, f.External.Port())
}

// take returns the socket that an earlier process left for a rule, or nil. The
// caller holds mu and owns the file.
func (fs *forwards) take(f vmnet.Forward) *os.File {
	name := fileName(f)
	file := fs.left[name]
	delete(fs.left, name)
	return file
}

// inheritedTCP returns the listener of file, which it closes; nil when it is none
// for the port.
func inheritedTCP(file *os.File, port uint16) net.Listener {
	if file == nil {
		return nil
	}
	defer file.Close()
	l, err := net.FileListener(file)
	if err != nil {
		return nil
	}
	if a, ok := l.Addr().(*net.TCPAddr); !ok || a.Port != int(port) {
		_ = l.Close()
		return nil
	}
	return l
}

// inheritedUDP is inheritedTCP for a UDP socket.
func inheritedUDP(file *os.File, port uint16) net.PacketConn {
	if file == nil {
		return nil
	}
	defer file.Close()
	c, err := net.FilePacketConn(file)
	if err != nil {
		return nil
	}
	if a, ok := c.LocalAddr().(*net.UDPAddr); !ok || a.Port != int(port) {
		_ = c.Close()
		return nil
	}
	return c
}

// keepFile keeps a duplicate of the rule's socket for Files. Without one the port
// is taken anew by the next process.
//
// It is not the socket's File: calling Fd of that, as net.FileListener does, makes
// the socket block, ours too, and a reader that comes then would hold up Close.
func (f *forward) keepFile(s syscall.Conn) {
	raw, err := s.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		if dup, err := unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 3); err == nil {
			f.file = os.NewFile(uintptr(dup), fileName(f.rule))
		}
	})
}
