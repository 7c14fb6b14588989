package tap

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// What frames are with Offload: as large as the framework's with TSO, and with a
// header as long as modern virtio's (virtio 1.2, section 5.1.6).
const (
	offloadFrame  = 65536 + vmnet.HeaderLen
	vnetHeaderLen = 12
)

// setOffload has the kernel put a little-endian virtio-net header of size bytes before
// each frame, and leave TCP segments whole and checksums open, as it lets us: what
// the two together say is in the header (linux/if_tun.h). What is left out, segments of
// UDP and such with ECN's CWR, the kernel does before.
func setOffload(fd, size int) error {
	if err := unix.IoctlSetPointerInt(fd, unix.TUNSETVNETHDRSZ, size); err != nil {
		return os.NewSyscallError("ioctl", err)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TUNSETVNETLE, 1); err != nil {
		return os.NewSyscallError("ioctl", err)
	}
	if err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, unix.TUN_F_CSUM|unix.TUN_F_TSO4|unix.TUN_F_TSO6); err != nil {
		return os.NewSyscallError("ioctl", err)
	}
	return nil
}

// ifReq is struct ifreq as the ioctls of tun use it.
type ifReq struct {
	name  [unix.IFNAMSIZ]byte
	flags uint16
	_     [22]byte // struct ifreq has 40 bytes
}

// openTap makes the tap name in the namespace of this thread. It is there until
// the last copy of its descriptor is closed.
func openTap(name string, flags uint16) (*os.File, error) {
	const path = "/dev/net/tun"
	// O_NONBLOCK before os.NewFile, or the runtime's poller does not take it.
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, opErr("open", path, err)
	}
	req := ifReq{flags: flags | unix.IFF_TUN_EXCL} // EBUSY when there is one of that name
	copy(req.name[:unix.IFNAMSIZ-1], name)
	if err := ioctl(fd, unix.TUNSETIFF, unsafe.Pointer(&req)); err != nil {
		_ = unix.Close(fd)
		return nil, opErr("make tap", name, err)
	}
	return os.NewFile(uintptr(fd), path+":"+name), nil
}

// isTap reports whether f is the tap name and was opened with flags.
func isTap(f *os.File, name string, flags uint16) bool {
	var req ifReq
	if err := control(f, func(fd int) error { return ioctl(fd, unix.TUNGETIFF, unsafe.Pointer(&req)) }); err != nil {
		return false
	}
	const matter = unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR
	return unix.ByteSliceToString(req.name[:]) == name && req.flags&matter == flags&matter
}

// control calls fn with f's descriptor, which stays open meanwhile.
func control(f *os.File, fn func(fd int) error) (err error) {
	raw, cerr := f.SyscallConn()
	if cerr != nil {
		return cerr
	}
	if cerr := raw.Control(func(fd uintptr) { err = fn(int(fd)) }); cerr != nil {
		return cerr
	}
	return err
}

func ioctl(fd int, req uint, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(req), uintptr(arg)); errno != 0 {
		return os.NewSyscallError("ioctl", errno)
	}
	return nil
}
