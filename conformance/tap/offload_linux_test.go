package tap_test

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/conformance/e2e"
	"github.com/vmnet-cni/vmnet/conformance/vm"
	"github.com/vmnet-cni/vmnet/conformance/vm/vmtest"
)

// bulk is what crosses in TestSegments each way.
var bulk = bytes.Repeat([]byte("segments of many times the MTU\n"), 64<<10)

// serveBulk serves bulk at addr, and answers a POST with the MD5 of what came.
func serveBulk(t *testing.T, do func(func() error), addr string) {
	t.Helper()
	do(func() error {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return err
		}
		s := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet {
				_, _ = w.Write(bulk)
				return
			}
			h := md5.New()
			_, _ = io.Copy(h, r.Body)
			fmt.Fprintf(w, "%x\n", h.Sum(nil))
		})}
		done := make(chan struct{})
		go func() { defer close(done); _ = s.Serve(l) }()
		t.Cleanup(func() { s.Close(); <-done })
		return nil
	})
}

// TestSegments has a Linux guest in QEMU that has the tap itself agree on segments
// with the kernel, as virtio's features are negotiated: what crosses the tap is larger
// than the MTU, both ways, and arrives as it was sent. Without offload the tap has no
// header, and the same guest nothing larger.
func TestSegments(t *testing.T) {
	vmtest.Need(t)
	for name, offload := range map[string]bool{"offload": true, "plain": false} {
		t.Run(name, func(t *testing.T) { segments(t, offload) })
	}
}

func segments(t *testing.T, offload bool) {
	m := machine(t, map[string]any{"frames": "tap", "offload": offload})
	do := outside(t, "up0", "198.51.100.1/24", "198.51.100.2/24")
	serveBulk(t, do, "198.51.100.2:80")
	p, err := m.AddPush(soon(t), "one")
	if err != nil {
		t.Fatal(err)
	}
	defer p.File.Close()
	t.Cleanup(func() {
		if err := m.Del(soon(t), "one", "vm://one"); err != nil {
			t.Error(err)
		}
	})
	header, frame := 0, 1514
	if offload {
		header, frame = 10, 65550
	}
	if flags := tapFlags(t, p); flags&unix.IFF_VNET_HDR != 0 != offload {
		t.Errorf("tap with flags %#x, with offload %t", flags, offload)
	}
	if p.Message.Offload != offload || p.Message.VnetHeader != header || p.Message.MaxFrameSize != frame {
		t.Errorf("the runtime was told %+v", p.Message)
	}
	if !offload && !long() {
		return // that no frame is larger is seen with everything that is asked for
	}
	tap := tapOf(t, p)
	sum := md5.Sum(bulk)
	hash := hex.EncodeToString(sum[:])
	v := boot(t, p, []vm.Step{
		{Name: "down", Command: "timeout 60 wget -q -O /bulk http://198.51.100.2/ && md5sum /bulk | grep " + hash},
		{Name: "up", Command: "timeout 60 wget -q -O - --post-file=/bulk http://198.51.100.2/ | grep " + hash},
	})
	defer v.Close()
	await(t, v, "lease")
	await(t, v, "step down ok")
	await(t, v, "step up ok")
	s := statistics(t, tap)
	// Each frame counts as one, whatever its size: means above the MTU's frame need
	// larger ones. What acknowledges is in either.
	for way, mean := range map[string]uint64{"to the guest": s.TxBytes / max(s.TxPackets, 1), "from the guest": s.RxBytes / max(s.RxPackets, 1)} {
		t.Logf("%s: frames of %d bytes on average", way, mean)
		if offload && mean <= 1514 || !offload && mean > 1514 {
			t.Errorf("%s: frames of %d bytes on average, with offload %t", way, mean, offload)
		}
	}
}

// tapFlags returns the flags of the tap that was handed over.
func tapFlags(t *testing.T, p *e2e.Pushed) uint16 {
	t.Helper()
	req, err := unix.NewIfreq("tap") // the name is what the call tells
	if err != nil {
		t.Fatal(err)
	}
	raw, err := p.File.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var ierr error
	err = raw.Control(func(fd uintptr) { ierr = unix.IoctlIfreq(int(fd), unix.TUNGETIFF, req) })
	if err = errors.Join(err, ierr); err != nil {
		t.Fatal(err)
	}
	return req.Uint16()
}

// tapOf returns the name of the tap that an attachment has on the host.
func tapOf(t *testing.T, p *e2e.Pushed) string {
	t.Helper()
	for _, i := range p.Result.Interfaces {
		if strings.HasPrefix(i.Name, "vmt") {
			return i.Name
		}
	}
	t.Fatalf("no tap among %+v", p.Result.Interfaces)
	return ""
}

func statistics(t *testing.T, name string) *netlink.LinkStatistics {
	t.Helper()
	l, err := netlink.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return l.Attrs().Statistics
}
