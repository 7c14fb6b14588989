package boltstore

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// holder says which process has the lock of f, if /proc tells.
func holder(f *os.File) string {
	var st unix.Stat_t
	if err := unix.Stat(f.Name(), &st); err != nil {
		return ""
	}
	locks, err := os.ReadFile("/proc/locks")
	if err != nil {
		return ""
	}
	pid := lockHolder(bytes.NewReader(locks), st.Ino)
	if pid <= 0 {
		return ""
	}
	name, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
	return fmt.Sprintf(": process %d (%s) has it", pid, strings.TrimSpace(string(name)))
}

// lockHolder returns the process of the lock of flock(2) on the inode, from
// /proc/locks (proc_locks(5)): "1: FLOCK ADVISORY WRITE 1234 08:01:5678 0 EOF".
// The device is not compared: its number there is that of the mount's super
// block, which stat(2) does not tell on btrfs and overlayfs.
func lockHolder(r io.Reader, inode uint64) int {
	scan := bufio.NewScanner(r)
	for scan.Scan() {
		f := strings.Fields(scan.Text())
		if len(f) < 6 || f[1] != "FLOCK" {
			continue
		}
		_, ino, ok := strings.Cut(f[5], ":")
		if ok {
			_, ino, ok = strings.Cut(ino, ":")
		}
		if n, err := strconv.ParseUint(ino, 10, 64); ok && err == nil && n == inode {
			pid, _ := strconv.Atoi(f[4])
			return pid
		}
	}
	return 0
}
