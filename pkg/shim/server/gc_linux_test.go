package server_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/internal/require"
	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// dialAs connects as another user. Only this thread is that user meanwhile.
func dialAs(t *testing.T, uid int, socket string) net.Conn {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	setEUID := func(uid int) {
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, ^uintptr(0), uintptr(uid), ^uintptr(0)); errno != 0 {
			t.Fatal(errno)
		}
	}
	setEUID(uid)
	c, err := net.Dial("unix", socket)
	setEUID(0)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestGCTellsTheOwner: the owner of an attachment hears that root's GC deleted it.
func TestGCTellsTheOwner(t *testing.T) {
	require.Root(t)
	cfg := config(newDirs(t))
	cfg.OtherUsers = true
	r := start(t, cfg)
	if err := os.Chmod(cfg.Dirs.ShimSocket(), 0o666); err != nil {
		t.Fatal(err)
	}
	exe := publicSelf(t, filepath.Dir(cfg.Dirs.State))
	if got := r.doAs(nobody, exe, "PUT", "/v1/networks/n/attachments/c1/eth0", "{}"); !strings.HasPrefix(got, "201") {
		t.Fatal(got)
	}
	c := dialAs(t, nobody, cfg.Dirs.ShimSocket())
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprint(c, "GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(c)
	read := func(want string) {
		t.Helper()
		for lines.Scan() {
			if strings.Contains(lines.Text(), want) {
				return
			}
		}
		t.Fatalf("no %s: %v", want, lines.Err())
	}
	read(`"type":"` + shim.EventShim + `"`)
	if _, err := r.GC(t.Context(), "n", []shim.AttachmentID{}); err != nil {
		t.Fatal(err)
	}
	read(`"type":"` + shim.EventDetached + `"`)
}
