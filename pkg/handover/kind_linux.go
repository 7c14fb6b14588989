package handover

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// isTap reports whether fd is attached to a tap interface. TUNGETIFF fails with
// EBADFD on a tun device that is not attached, and with ENOTTY on all else
// (linux/drivers/net/tun.c, __tun_chr_ioctl).
func isTap(fd int) bool {
	var req struct {
		name  [unix.IFNAMSIZ]byte
		flags uint16
		_     [22]byte // struct ifreq has 40 bytes
	}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TUNGETIFF, uintptr(unsafe.Pointer(&req)))
	return errno == 0 && req.flags&unix.IFF_TAP != 0
}

// isNetNS reports whether fd is a network namespace (ioctl_nsfs(2)).
func isNetNS(fd int) bool {
	var st unix.Statfs_t
	if unix.Fstatfs(fd, &st) != nil || st.Type != unix.NSFS_MAGIC {
		return false
	}
	typ, err := unix.IoctlRetInt(fd, unix.NS_GET_NSTYPE)
	return err == nil && typ == unix.CLONE_NEWNET
}
