package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// startAgain gives up, for this thread, and then makes the program of it again, so
// that all threads have it: what programs with the set-user-ID bit could give back
// (no_new_privs, prctl(2)); for root the capabilities that no driver uses
// (capabilities(7)), for others writing anywhere but below c.write (landlock(7)).
// Root's shim has driver tap, which mounts, and who is under landlock cannot. It
// returns only after an error.
func (c confinement) startAgain() error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("confine: %w: %w", err, errors.ErrUnsupported)
	}
	runtime.LockOSThread() // for good: after an error the caller ends
	if err := c.apply(); err != nil {
		return err
	}
	return os.NewSyscallError("execve", syscall.Exec(self, os.Args, append(os.Environ(), confinedEnv+"=1")))
}

// apply confines the calling thread. The error wraps errors.ErrUnsupported when
// nothing has changed.
func (c confinement) apply() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w: %w", err, errors.ErrUnsupported)
	}
	if c.root {
		return dropCapabilities(c.caps)
	}
	return c.restrictWrites()
}

// socketOf returns the path of a listening unix socket, or "".
func socketOf(fd int) string {
	if sa, err := unix.Getsockname(fd); err == nil {
		if u, ok := sa.(*unix.SockaddrUnix); ok {
			return u.Name
		}
	}
	return ""
}

// Rights to change files. Those of later versions are asked for where the kernel
// knows them: renaming between directories since 2, truncating since 3.
const (
	changeFile = unix.LANDLOCK_ACCESS_FS_WRITE_FILE
	changeDir  = unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE |
		unix.LANDLOCK_ACCESS_FS_MAKE_CHAR | unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_REG |
		unix.LANDLOCK_ACCESS_FS_MAKE_SOCK | unix.LANDLOCK_ACCESS_FS_MAKE_FIFO | unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK |
		unix.LANDLOCK_ACCESS_FS_MAKE_SYM
)

// restrictWrites lets the process change files below c.write only. Reading and
// what is open already stay as they are.
func (c confinement) restrictWrites() error {
	abi, _, e := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if e != 0 {
		return nil // a kernel before 5.13, or one without it
	}
	file, dir := uint64(changeFile), uint64(changeDir)
	if abi >= 2 {
		dir |= unix.LANDLOCK_ACCESS_FS_REFER
	}
	if abi >= 3 {
		file |= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	attr := unix.LandlockRulesetAttr{Handled_access_fs: file | dir}
	// Only the first field: older kernels do not know the others.
	set, _, e := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr.Handled_access_fs), 0)
	if e != 0 {
		return fmt.Errorf("landlock: %w", e)
	}
	defer unix.Close(int(set))
	for _, path := range c.write {
		if err := allowBelow(int(set), path, file, dir); err != nil {
			return err
		}
	}
	_, _, e = unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, set, 0, 0)
	// A keeper that a shim started is confined as that was, and so is the next: after
	// 16 of them one more ruleset cannot be stacked, and need not be.
	if e != 0 && e != unix.E2BIG {
		return fmt.Errorf("landlock: %w", e)
	}
	return nil
}

func allowBelow(set int, path string, file, dir uint64) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("landlock %s: %w", path, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("landlock %s: %w", path, err)
	}
	rule := unix.LandlockPathBeneathAttr{Allowed_access: file, Parent_fd: int32(fd)}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		rule.Allowed_access |= dir
	}
	_, _, e := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(set), unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&rule)), 0, 0, 0)
	if e != 0 {
		return fmt.Errorf("landlock %s: %w", path, e)
	}
	return nil
}

// What root's shim keeps, by what for. Entering network namespaces is not among it:
// CAP_NET_ADMIN makes interfaces in them (pkg/vmnet/tap).
const (
	// To have bridges, taps, macvtaps and nftables, and interfaces in namespaces; to
	// answer DHCP from packet sockets; to answer DNS on the gateway's port 53, and
	// hold low ports for forwards.
	tapCaps = 1<<unix.CAP_NET_ADMIN | 1<<unix.CAP_NET_RAW | 1<<unix.CAP_NET_BIND_SERVICE
	// To give sockets to the owners of attachments, and to send to those that guests
	// have bound in their owners' directories.
	ownerCaps = 1<<unix.CAP_CHOWN | 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_FOWNER
)

// caps are the capabilities that root's shim keeps: all those where nobody says
// what it is for, else what that takes. Driver netstack takes none.
func (f *serveFlags) caps() (caps uint32) {
	if len(f.drivers) == 0 || slices.Contains(f.drivers, shim.DriverTap) {
		caps |= tapCaps
	}
	if len(f.drivers) == 0 || f.group != "" {
		caps |= ownerCaps
	}
	return caps
}

// dropCapabilities keeps those of keep that were there. With no_new_privs a
// program that root starts gets no others either.
func dropCapabilities(keep uint32) error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return fmt.Errorf("capabilities: %w", err)
	}
	data[0].Effective &= keep
	data[0].Permitted &= keep
	data[0].Inheritable &= keep
	data[1] = unix.CapUserData{}
	if err := unix.Capset(&hdr, &data[0]); err != nil {
		return fmt.Errorf("capabilities: %w", err)
	}
	return nil
}
