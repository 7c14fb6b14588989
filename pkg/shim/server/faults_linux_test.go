package server_test

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/internal/require"
	"github.com/vmnet-cni/vmnet/pkg/handover"
	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/shim/server"
)

// Faults of the machine, each of a shim in a process of its own, with the
// environment to say what goes wrong. docs/operate.md has the table.
const (
	faultDisk   = "SERVER_TEST_DISK"   // size of the file system of the state directory
	faultFiles  = "SERVER_TEST_FILES"  // RLIMIT_NOFILE
	faultMemory = "SERVER_TEST_MEMORY" // Limits.Memory in bytes
)

// breakMachine makes the process's surroundings as the environment says.
func breakMachine(d shim.Dirs, limits *server.Limits) error {
	if size := os.Getenv(faultDisk); size != "" {
		// The mount namespace is the process's own (spawnFaulty).
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return fmt.Errorf("make mounts private: %w", err)
		}
		if err := unix.Mount("state", d.State, "tmpfs", 0, "mode=0700,size="+size); err != nil {
			return fmt.Errorf("mount: %w", err)
		}
		readOnly := make(chan os.Signal, 1)
		signal.Notify(readOnly, syscall.SIGUSR1)
		go func() {
			<-readOnly
			if err := unix.Mount("ro", filepath.Join(d.State, "attachments"), "tmpfs", unix.MS_RDONLY, ""); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		}()
	}
	if n, err := strconv.ParseUint(os.Getenv(faultFiles), 10, 32); err == nil {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: n, Max: n}); err != nil {
			return err
		}
	}
	if n, err := strconv.ParseInt(os.Getenv(faultMemory), 10, 64); err == nil {
		limits.Memory = n
		debug.SetMemoryLimit(n)
	}
	return nil
}

// A patient is a shim whose machine has a fault.
type patient struct {
	*running
	cmd *exec.Cmd
}

func newPatient(t *testing.T, env ...string) *patient {
	t.Helper()
	require.Root(t)
	d := newDirs(t)
	cmd := spawnIn(t, d, &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}, env...)
	r := &running{Client: client(t, d), t: t, dirs: d, cancel: func() {}}
	p := &patient{r, cmd}
	t.Cleanup(func() {
		r.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if _, err := r.Status(t.Context()); err != nil {
		t.Fatal(err)
	}
	return p
}

// path returns where a path of the shim's mount namespace is for us.
func (p *patient) path(path string) string {
	return filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid), "root", path)
}

// guest takes the frames of an attachment.
func (p *patient) guest(id string) (handover.Message, net.Conn) {
	p.t.Helper()
	m, f, err := p.Frames(p.t.Context(), "n", id, "eth0")
	if err != nil {
		p.t.Fatal(err)
	}
	return m, conn(p.t.(*testing.T), f)
}

// alive fails the test when the guest's network does not answer.
func (p *patient) alive(m handover.Message, c net.Conn) {
	p.t.Helper()
	if got := offered(p.t.(*testing.T), m, c); !strings.HasPrefix(m.IPs[0], got) {
		p.t.Errorf("the guest is offered %s, want %s", got, m.IPs[0])
	}
}

// refused makes an attachment that must fail, with the code and the text.
func (p *patient) refused(id string, code shim.Code, text string) {
	p.t.Helper()
	_, err := p.Attach(p.t.Context(), "n", id, "eth0", shim.AttachRequest{})
	if shim.CodeOf(err) != code || !strings.Contains(fmt.Sprint(err), text) {
		p.t.Errorf("attach %s: %v, want %s with %q", id, err, code, text)
	}
	if a, err := p.Attachments(p.t.Context()); err != nil || len(a) != 1 {
		p.t.Errorf("%d attachments, %v, want the one from before", len(a), err)
	}
}

func TestFullDisk(t *testing.T) {
	p := newPatient(t, faultDisk+"=512k")
	p.attach("n", "c1", shim.AttachRequest{})
	m, c := p.guest("c1")
	filler := p.path(filepath.Join(p.dirs.State, "filler"))
	err := os.WriteFile(filler, make([]byte, 1<<20), 0o600)
	if err == nil {
		t.Fatal("the disk is not full")
	}
	p.refused("c2", shim.CodeExhausted, "no space left on device")
	p.alive(m, c)
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	p.attach("n", "c2", shim.AttachRequest{}) // and it works again, by itself
	for _, id := range []string{"c1", "c2"} {
		if err := p.Detach(t.Context(), "n", id, "eth0"); err != nil {
			t.Error(err)
		}
	}
}

// On a full disk attachments can be deleted.
func TestFullDiskDetach(t *testing.T) {
	p := newPatient(t, faultDisk+"=512k")
	p.attach("n", "c1", shim.AttachRequest{})
	if err := os.WriteFile(p.path(filepath.Join(p.dirs.State, "filler")), make([]byte, 1<<20), 0o600); err == nil {
		t.Fatal("the disk is not full")
	}
	if err := p.Detach(t.Context(), "n", "c1", "eth0"); err != nil {
		t.Error(err)
	}
}

func TestReadOnlyDisk(t *testing.T) {
	p := newPatient(t, faultDisk+"=1m")
	p.attach("n", "c1", shim.AttachRequest{})
	m, c := p.guest("c1")
	if err := p.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool {
		err := os.WriteFile(p.path(filepath.Join(p.dirs.State, "attachments", "x")), nil, 0o600)
		return err != nil && strings.Contains(err.Error(), "read-only")
	}, func() string { return "the directory is still writable" })
	p.refused("c2", shim.CodeUnavailable, "read-only file system")
	p.alive(m, c)
}

func TestFileLimit(t *testing.T) {
	p := newPatient(t, faultFiles+"=96")
	p.attach("n", "c0", shim.AttachRequest{})
	m, c := p.guest("c0")
	var err error
	made := 1
	for ; made < 96; made++ {
		if _, err = p.Attach(t.Context(), "n", fmt.Sprint("c", made), "eth0", shim.AttachRequest{}); err != nil {
			break
		}
	}
	if shim.CodeOf(err) != shim.CodeExhausted || !strings.Contains(err.Error(), "RLIMIT_NOFILE") {
		t.Errorf("attachment %d: %v, want exhausted", made, err)
	}
	p.alive(m, c)
	p.Close() // what comes next is a client of its own
	if err := p.Detach(t.Context(), "n", "c1", "eth0"); err != nil {
		t.Errorf("detach with no room left: %v", err)
	}
	p.attach("n", "again", shim.AttachRequest{})
	t.Logf("%d attachments with 96 descriptors", made)
}

// In a cgroup that holds little, the shim refuses attachments and is not killed.
func TestMemoryLimit(t *testing.T) {
	group := filepath.Join("/sys/fs/cgroup/memory", fmt.Sprintf("vmnet-test-%d", os.Getpid()))
	if err := os.Mkdir(group, 0o755); err != nil {
		t.Logf("no memory cgroup (%v): the shim's own limit only", err)
		group = ""
	}
	const limit = 24 << 20
	wide := shim.AttachRequest{Network: shim.NetworkSpec{Subnet: netip.MustParsePrefix("10.123.0.0/16")}}
	p := newPatient(t, faultMemory+"="+strconv.Itoa(limit))
	if group != "" {
		t.Cleanup(func() {
			_ = p.cmd.Process.Kill()
			eventually(t, func() bool { return os.Remove(group) == nil }, func() string { return "cannot remove " + group })
		})
		for file, value := range map[string]int{"memory.limit_in_bytes": 128 << 20, "cgroup.procs": p.cmd.Process.Pid} {
			if err := os.WriteFile(filepath.Join(group, file), []byte(strconv.Itoa(value)), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	p.attach("n", "c0", wide)
	m, c := p.guest("c0")
	var err error
	made := 1
	for ; made < 1000; made++ {
		if _, err = p.Attach(t.Context(), "n", fmt.Sprint("c", made), "eth0", wide); err != nil {
			break
		}
	}
	if shim.CodeOf(err) != shim.CodeExhausted || !strings.Contains(err.Error(), "memory") {
		t.Errorf("attachment %d: %v, want exhausted", made, err)
	}
	p.alive(m, c)
	if _, err := p.Status(t.Context()); err != nil {
		t.Error(err)
	}
	t.Logf("%d attachments in %d MiB", made, limit>>20)
}

// The state directory goes away under way: guests go on, no attachment is lost
// while the shim lives, new ones are refused, old ones can be deleted.
func TestStateDeleted(t *testing.T) {
	p := newPatient(t)
	p.attach("n", "c1", shim.AttachRequest{})
	m, c := p.guest("c1")
	if err := os.RemoveAll(p.dirs.State); err != nil {
		t.Fatal(err)
	}
	p.refused("c2", shim.CodeInternal, "no such file or directory")
	p.alive(m, c)
	if err := p.Detach(t.Context(), "n", "c1", "eth0"); err != nil {
		t.Errorf("detach: %v", err)
	}
}
