package server_test

import (
	"net"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/pkg/handover"
	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// A socket that the client made serves as well as one from the shim, whichever
// kind the attachment was made with.
func TestGive(t *testing.T) {
	for _, kind := range []string{shim.FramesDgram, shim.FramesStream} {
		t.Run(kind, func(t *testing.T) {
			r := start(t, config(newDirs(t)))
			a := r.attach("n", "c", shim.AttachRequest{})
			before := r.census()
			var closers []net.Conn
			for range 2 { // the second replaces the first
				guest, host, err := handover.Pair(kind, a.MaxFrameSize, false)
				if err != nil {
					t.Fatal(err)
				}
				if err := r.Give(t.Context(), a, host); err != nil {
					t.Fatal(err)
				}
				host.Close()
				m := handover.Message{MAC: a.MAC, MaxFrameSize: a.MaxFrameSize, Kind: kind}
				c := conn(t, guest)
				if got := offered(t, m, c); got != a.IPs[0].Address.Addr().String() {
					t.Errorf("offered %s, the result says %v", got, a.IPs)
				}
				closers = append(closers, c)
			}
			for _, c := range closers {
				c.Close()
			}
			if err := r.Detach(t.Context(), "n", "c", "eth0"); err != nil {
				t.Fatal(err)
			}
			r.attach("n", "c", shim.AttachRequest{})
			r.nothingLeft(before)
		})
	}
}

// What is no frame fd for this attachment is refused, and the guest that is there
// stays.
func TestGiveRefused(t *testing.T) {
	r := start(t, config(newDirs(t)))
	a := r.attach("n", "c", shim.AttachRequest{})
	m, f, err := r.Frames(t.Context(), "n", "c", "eth0")
	if err != nil {
		t.Fatal(err)
	}
	guest := conn(t, f)
	before := r.census()
	host := func() *os.File {
		guest, host, err := handover.Pair(shim.FramesDgram, a.MaxFrameSize, false)
		if err != nil {
			t.Fatal(err)
		}
		guest.Close()
		return host
	}
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	other, offload := a, a
	other.ContainerID, offload.Offload = "d", true
	for name, c := range map[string]struct {
		a    shim.Attachment
		f    *os.File
		want string
	}{
		"a file":             {a, file, "neither a socket"},
		"no such attachment": {other, host(), "n/d/eth0"},
		"offload":            {offload, host(), "offload true"},
		"no peer":            {a, os.NewFile(uintptr(fd), "lone"), "want a named datagram socket"},
	} {
		if err := r.Give(t.Context(), c.a, c.f); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		c.f.Close()
	}
	r.nothingLeft(before)
	if got := offered(t, m, guest); got != "192.168.127.2" {
		t.Errorf("the guest is offered %s, want it unharmed", got)
	}
}
