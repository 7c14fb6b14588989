package main

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A runtime that listens and takes no more connections may do so later. Elsewhere than
// on Linux such a connection is refused.
func TestAddBusyRuntime(t *testing.T) {
	emptyDirs(t)
	fake := newFakeShim(t)
	path := filepath.Join(filepath.Dir(fake.path), "vm.sock")
	sa := &unix.SockaddrUnix{Name: path}
	socket := func() int {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		return fd
	}
	l := socket()
	if err := errors.Join(unix.Bind(l, sa), unix.Listen(l, 0)); err != nil {
		t.Fatal(err)
	}
	for {
		err := unix.Connect(socket(), sa)
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	c := strings.Replace(conf(t, fake.path, nil), `"timeout":"60s"`, `"timeout":"300ms"`, 1)
	if got := runVerb(t, "ADD", map[string]string{"CNI_NETNS": path}, strings.NewReader(c)); !strings.Contains(got.stdout, `"code":11`) || !strings.Contains(got.stdout, "CNI_NETNS") {
		t.Errorf("ADD: %+v", got)
	}
	if fake.count() != 0 {
		t.Error("an attachment is left")
	}
}
