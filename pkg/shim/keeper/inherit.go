package keeper

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// firstFD is the first descriptor that is passed on (SD_LISTEN_FDS_START).
const firstFD = 3

// A File is a descriptor that was passed on, with its name.
type File struct {
	Name string
	*os.File
}

// An Inheritance is what a keeper left to this process. The caller owns the files.
type Inheritance struct {
	Files []File
	// Notify is the address of the notify socket, or "".
	Notify string
	// Ours says that the keeper is of this package and not systemd.
	Ours bool
}

// Inherited returns what the environment says was passed on, and nothing when it
// is for another process. The descriptors are close-on-exec from then on. It is
// to be called once, before anything else opens descriptors. The caller sets the
// environment of its children with Environ.
func Inherited(getenv func(string) string) (in Inheritance, err error) {
	in.Notify = getenv("NOTIFY_SOCKET")
	count := getenv("LISTEN_FDS")
	in.Ours = getenv("LISTEN_PPID") == strconv.Itoa(os.Getppid())
	if count == "" || !in.Ours && getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		return in, nil
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 || n > 1<<16 {
		return in, fmt.Errorf("LISTEN_FDS %q: want a number of descriptors", count)
	}
	var names []string
	if v := getenv("LISTEN_FDNAMES"); v != "" {
		names = strings.Split(v, ":")
	}
	if len(names) != n && len(names) != 0 {
		return in, fmt.Errorf("LISTEN_FDNAMES: %d names for %d descriptors", len(names), n)
	}
	for i := range n {
		name := "unknown" // sd_listen_fds_with_names(3)
		if len(names) > 0 {
			name = names[i]
		}
		unix.CloseOnExec(firstFD + i)
		in.Files = append(in.Files, File{name, os.NewFile(uintptr(firstFD+i), name)})
	}
	return in, nil
}
