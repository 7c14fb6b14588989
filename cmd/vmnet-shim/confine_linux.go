package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
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
		return dropCapabilities()
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
	if _, _, e := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, set, 0, 0); e != 0 {
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

// keepCaps are what root's shim keeps: to give sockets to the owners of
// attachments, to have buffers beyond what sysctls say, to listen on low ports for
// forwards, to ping; and for driver tap to make interfaces, bridges and filters, and
// to go into network namespaces (setns(2)), also those that it finds by a process of
// root's (/proc/PID/ns/net, ptrace(2), "Ptrace access mode checking").
const keepCaps = 1<<unix.CAP_CHOWN | 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_FOWNER | 1<<unix.CAP_NET_ADMIN |
	1<<unix.CAP_NET_BIND_SERVICE | 1<<unix.CAP_NET_RAW | 1<<unix.CAP_SYS_ADMIN | 1<<unix.CAP_SYS_PTRACE

// dropCapabilities keeps what is in the list and was there. With no_new_privs a
// program that root starts gets no others either.
func dropCapabilities() error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return fmt.Errorf("capabilities: %w", err)
	}
	data[0].Effective &= keepCaps
	data[0].Permitted &= keepCaps
	data[0].Inheritable &= keepCaps
	data[1] = unix.CapUserData{}
	if err := unix.Capset(&hdr, &data[0]); err != nil {
		return fmt.Errorf("capabilities: %w", err)
	}
	return nil
}
