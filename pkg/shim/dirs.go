package shim

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// MaxSocketPath is the longest path of a unix socket, in bytes: macOS has room
// for 104 with the final NUL (<sys/un.h>), Linux for 108.
const MaxSocketPath = 103

// maxRuntime is the longest runtime directory: the longest path below it is
// that of an attachment's socket.
const maxRuntime = MaxSocketPath - len("/s/0123456789abcdef.d")

// Dirs are the directories of a shim.
type Dirs struct {
	// Runtime holds the sockets and the lock. It need not outlive a boot.
	Runtime string
	// State holds what must outlive the shim: networks, attachments, leases, and
	// the log of a shim that was started by a client.
	State string
}

// FindDirs returns the directories for this process, from its environment and
// user ID as design rules say:
//
//	Runtime: $VMNET_RUNTIME_DIR, else for root /run/vmnet (Linux) or
//	         /var/run/vmnet (macOS), else $XDG_RUNTIME_DIR/vmnet, else
//	         /tmp/vmnet-<uid>
//	State:   $VMNET_STATE_DIR, else for root /var/lib/vmnet, else
//	         $XDG_STATE_HOME/vmnet, else $HOME/.local/state/vmnet
//
// It creates nothing; see Prepare.
func FindDirs() (Dirs, error) { return findDirs(os.Getenv, os.Geteuid()) }

// findDirs is FindDirs with its surroundings as arguments.
func findDirs(getenv func(string) string, uid int) (Dirs, error) {
	var d Dirs
	switch {
	case getenv("VMNET_RUNTIME_DIR") != "":
		d.Runtime = getenv("VMNET_RUNTIME_DIR")
	case uid == 0:
		d.Runtime = rootRuntimeDir
	case filepath.IsAbs(getenv("XDG_RUNTIME_DIR")):
		d.Runtime = filepath.Join(getenv("XDG_RUNTIME_DIR"), "vmnet")
	default:
		d.Runtime = "/tmp/vmnet-" + strconv.Itoa(uid)
	}
	switch {
	case getenv("VMNET_STATE_DIR") != "":
		d.State = getenv("VMNET_STATE_DIR")
	case uid == 0:
		d.State = "/var/lib/vmnet"
	case filepath.IsAbs(getenv("XDG_STATE_HOME")): // relative ones are ignored, as the XDG base directory specification says
		d.State = filepath.Join(getenv("XDG_STATE_HOME"), "vmnet")
	case filepath.IsAbs(getenv("HOME")):
		d.State = filepath.Join(getenv("HOME"), ".local", "state", "vmnet")
	default:
		return Dirs{}, errors.New("state directory: HOME is not set: set VMNET_STATE_DIR")
	}
	d.Runtime, d.State = filepath.Clean(d.Runtime), filepath.Clean(d.State)
	return d, d.check()
}

// check refuses paths that cannot work.
func (d Dirs) check() error {
	if !filepath.IsAbs(d.Runtime) {
		return fmt.Errorf("runtime directory %q: want an absolute path in VMNET_RUNTIME_DIR", d.Runtime)
	}
	if !filepath.IsAbs(d.State) {
		return fmt.Errorf("state directory %q: want an absolute path in VMNET_STATE_DIR", d.State)
	}
	if len(d.Runtime) > maxRuntime {
		return fmt.Errorf("runtime directory %q: %d bytes, want at most %d, since the path of a unix socket has at most %d: set VMNET_RUNTIME_DIR to a shorter one",
			d.Runtime, len(d.Runtime), maxRuntime, MaxSocketPath)
	}
	return nil
}

// ShimSocket is the path of the shim's API socket.
func (d Dirs) ShimSocket() string { return filepath.Join(d.Runtime, "shim.sock") }

// LogFile is where a shim that a client started writes its log.
func (d Dirs) LogFile() string { return filepath.Join(d.State, "shim.log") }

// Sockets is the directory of the attachments' sockets.
func (d Dirs) Sockets() string { return filepath.Join(d.Runtime, "s") }

// Socket is the path of an attachment's socket of kind FramesDgram or
// FramesStream: at most MaxSocketPath bytes, whatever the names.
func (d Dirs) Socket(network, containerID, ifname, kind string) string {
	return filepath.Join(d.Sockets(), Hash(network, containerID, ifname)+"."+kind[:1])
}

// Prepare makes the directories that are missing and refuses those that another
// user could have prepared or could change: a directory must not be a symbolic
// link, must belong to this user or root, and must not be writable for others.
// Those of a user are 0700; root's runtime directory is 0711, so that the
// owners of attachments reach their sockets.
func (d Dirs) Prepare() error {
	if err := d.check(); err != nil {
		return err
	}
	mode := fs.FileMode(0o700)
	if os.Geteuid() == 0 {
		mode = 0o711
	}
	if err := prepareDir("runtime directory", d.Runtime, mode); err != nil {
		return err
	}
	if err := prepareDir("socket directory", d.Sockets(), mode); err != nil {
		return err
	}
	return prepareDir("state directory", d.State, 0o700)
}

// usable reports what Prepare would refuse of what is there, and makes nothing.
func (d Dirs) usable() error {
	if err := d.check(); err != nil {
		return err
	}
	for _, dir := range []struct{ what, path string }{
		{"runtime directory", d.Runtime}, {"socket directory", d.Sockets()}, {"state directory", d.State},
	} {
		if err := checkDir(dir.what, dir.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// prepareDir makes and checks one directory. A directory in a place where
// others may write, as /tmp, has mode exactly 0700 or 0711.
func prepareDir(what, dir string, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return fmt.Errorf("%s %s: %w", what, dir, err)
	}
	err := os.Mkdir(dir, mode)
	if err == nil {
		err = os.Chmod(dir, mode) // whatever the umask
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s %s: %w", what, dir, err)
	}
	return checkDir(what, dir)
}

// checkDir refuses a directory that is not safe. Lstat, since a symbolic link
// in /tmp could be anybody's.
func checkDir(what, dir string) error {
	fi, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("%s %s: %w", what, dir, err)
	}
	uid, me := fileOwner(fi), os.Geteuid()
	switch {
	case fi.Mode()&fs.ModeSymlink != 0:
		return fmt.Errorf("%s %s: is a symbolic link, want a directory: %w", what, dir, fs.ErrPermission)
	case !fi.IsDir():
		return fmt.Errorf("%s %s: is not a directory: %w", what, dir, fs.ErrPermission)
	case uid != me && uid != 0:
		return fmt.Errorf("%s %s: belongs to user %d, want %d: %w", what, dir, uid, me, fs.ErrPermission)
	case fi.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("%s %s: has mode %04o, want it not to be writable for others: chmod 700: %w", what, dir, fi.Mode().Perm(), fs.ErrPermission)
	}
	return nil
}
