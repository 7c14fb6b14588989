package segments

import (
	"os"

	"golang.org/x/sys/unix"
)

// Offer tells the tap fd, which has the header (IFF_VNET_HDR), that large segments
// of TCP and open checksums may come. The error is ioctl(2)'s: a kernel that cannot
// goes on with frames as they were.
func Offer(fd int) error {
	err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, unix.TUN_F_CSUM|unix.TUN_F_TSO4|unix.TUN_F_TSO6)
	return os.NewSyscallError("ioctl TUNSETOFFLOAD", err)
}
