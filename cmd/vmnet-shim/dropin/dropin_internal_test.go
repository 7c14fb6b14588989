package dropin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/internal/leak"
	"github.com/vmnet-cni/vmnet/internal/tempdir"
	"github.com/vmnet-cni/vmnet/pkg/handover"
	"github.com/vmnet-cni/vmnet/pkg/shim"
)

func TestMain(m *testing.M) { leak.Main(m, nil) }

// A double stands in for the shim: it answers what the drop-ins ask, writes down
// what they did, and can be slow at a certain moment.
type double struct {
	t  *testing.T
	mu sync.Mutex
	// did are the requests that have been answered: put, give, delete.
	did      []string
	there    []shim.Attachment
	frames   uint64 // of the guest
	peerless bool   // nobody is at the other end of what is given
	listing  func() // is called after the list was made and before it is sent
	deleting func() // is called before a deletion
}

// newDouble returns a double that listens, and its client.
func newDouble(t *testing.T) (*double, *shim.Client) {
	t.Helper()
	dir, err := tempdir.Make("dd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	d := &double{t: t}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) { d.send(w, shim.Status{PID: 1}) })
	mux.HandleFunc("GET /v1/attachments", d.list)
	const one = "/v1/networks/{network}/attachments/{containerID}/{ifname}"
	mux.HandleFunc("GET "+one, d.get)
	mux.HandleFunc("PUT "+one, d.put)
	mux.HandleFunc("DELETE "+one, d.delete)
	mux.HandleFunc("POST "+one+"/frames", d.give)
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: mux}
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.Serve(l) })
	c := shim.NewClient(l.Addr().String())
	t.Cleanup(func() {
		c.Close()
		s.Close()
		wg.Wait()
	})
	return d, c
}

func (d *double) send(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		d.t.Error(err)
	}
}

func (d *double) done() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.did)
}

func (d *double) list(w http.ResponseWriter, _ *http.Request) {
	d.mu.Lock()
	list := append([]shim.Attachment{}, d.there...)
	d.mu.Unlock()
	if d.listing != nil {
		d.listing()
	}
	d.send(w, list)
}

// find returns the attachment of a request, or nil. The caller holds mu.
func (d *double) find(r *http.Request) *shim.Attachment {
	for i, a := range d.there {
		if a.ContainerID == r.PathValue("containerID") {
			return &d.there[i]
		}
	}
	return nil
}

func (d *double) get(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.find(r)
	if a == nil {
		w.WriteHeader(http.StatusNotFound)
		d.send(w, shim.Error{Code: shim.CodeNotFound, Message: "none"})
		return
	}
	a.Counters.FromGuest.Frames = d.frames
	d.send(w, *a)
}

func (d *double) put(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.find(r)
	if a == nil {
		d.there = append(d.there, shim.Attachment{
			Network: r.PathValue("network"), ContainerID: r.PathValue("containerID"), IfName: r.PathValue("ifname"),
			MAC: "52:54:00:00:00:01", MTU: 1500, MaxFrameSize: 1514,
		})
		a = &d.there[len(d.there)-1]
	}
	d.did = append(d.did, "put")
	d.send(w, *a)
}

func (d *double) delete(w http.ResponseWriter, r *http.Request) {
	if d.deleting != nil {
		d.deleting()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	id := r.PathValue("containerID")
	d.there = slices.DeleteFunc(d.there, func(a shim.Attachment) bool { return a.ContainerID == id })
	d.did = append(d.did, "delete")
	w.WriteHeader(http.StatusNoContent)
}

func (d *double) give(w http.ResponseWriter, r *http.Request) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		d.t.Error(err)
		return
	}
	defer conn.Close()
	protocol := r.Header.Get("Upgrade")
	_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+protocol+"\r\n\r\n")
	if protocol == shim.UpgradeFrames {
		d.frame(r, conn.(*net.UnixConn))
		return
	}
	_, f, err := handover.Receive(r.Context(), conn.(*net.UnixConn))
	if err != nil {
		d.t.Error(err)
		return
	}
	_ = f.Close()
	d.mu.Lock()
	if a := d.find(r); a != nil {
		a.Peer.Connected = !d.peerless
	}
	d.did = append(d.did, "give")
	d.mu.Unlock()
	if err := handover.Answer(r.Context(), conn.(*net.UnixConn), nil); err != nil {
		d.t.Error(err)
	}
}

// frame gives a frame fd.
func (d *double) frame(r *http.Request, conn *net.UnixConn) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	if err != nil {
		d.t.Error(err)
		return
	}
	defer unix.Close(fds[0])
	f := os.NewFile(uintptr(fds[1]), "frames")
	defer f.Close()
	d.mu.Lock()
	d.did = append(d.did, "frames")
	d.mu.Unlock()
	m := handover.Message{
		Network: "n", ContainerID: "c", IfName: ifname, Kind: "dgram", MAC: "52:54:00:00:00:01", MTU: 1500, MaxFrameSize: 1514, IPs: []string{},
	}
	if err := handover.Send(r.Context(), conn, m, f); err != nil {
		d.t.Error(err)
	}
}

// quiet is a log for nobody.
func quiet() *logrus.Logger {
	log := logrus.New()
	log.SetOutput(io.Discard)
	return log
}

// connection returns both ends of a stream socket, and a frame is waiting in ours.
func connection(t *testing.T) (ours, theirs *net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	var both [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "pair")
		c, err := net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		both[i] = c.(*net.UnixConn)
	}
	hello := append([]byte{0, 0, 0, 60, 255, 255, 255, 255, 255, 255, 0x52, 0x54, 0, 0, 0, 1, 8, 6}, make([]byte, 46)...)
	if _, err := both[1].Write(hello); err != nil {
		t.Fatal(err)
	}
	return both[0], both[1]
}

// A guest whose attachment is being deleted comes again: it gets one of its own, and
// that is not the one that goes.
func TestGuestComesAgain(t *testing.T) {
	s, c := newDouble(t)
	deleting, goOn := make(chan struct{}), make(chan struct{})
	s.deleting = func() { close(deleting); <-goOn }
	d := newDoor(c, shim.AttachRequest{Network: shim.NetworkSpec{Name: "n"}}, quiet())
	ctx := t.Context()
	enter := func() *net.UnixConn {
		ours, theirs := connection(t)
		d.slots <- struct{}{}
		d.welcome(ctx, ours)
		return theirs
	}
	enter().Close()
	var wg sync.WaitGroup
	wg.Go(func() { d.leave(ctx) })
	<-deleting
	wg.Go(func() { enter() })
	time.Sleep(20 * time.Millisecond) // in which it must not get the old attachment
	close(goOn)
	wg.Wait()
	if got, want := strings.Join(s.done(), " "), "put give delete put give"; got != want {
		t.Errorf("the shim was asked to %s, want %s", got, want)
	}
	if len(s.there) != 1 || len(d.all()) != 1 || len(d.slots) != 1 {
		t.Errorf("%d attachments, %d guests, %d slots, want one of each", len(s.there), len(d.all()), len(d.slots))
	}
}

// A guest that comes while the shim's list is on its way is not on it, and not handed
// over twice: its stream would lose what was read of a frame.
func TestMendLeavesNewGuests(t *testing.T) {
	s, c := newDouble(t)
	d := newDoor(c, shim.AttachRequest{Network: shim.NetworkSpec{Name: "n"}}, quiet())
	s.listing = func() {
		s.listing = nil
		ours, _ := connection(t)
		d.slots <- struct{}{}
		d.welcome(t.Context(), ours)
	}
	if err := d.mend(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(s.done(), " "), "put give"; got != want {
		t.Errorf("the shim was asked to %s, want %s", got, want)
	}
	// A shim that started anew has it again.
	s.there = nil
	if err := d.mend(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(s.done(), " "), "put give put give"; got != want {
		t.Errorf("the shim was asked to %s, want %s", got, want)
	}
}

// newTestHelper returns a helper for one end of a pair of datagram sockets, and the
// attachment that it made.
func newTestHelper(t *testing.T, c *shim.Client, single bool) (*helper, shim.Attachment) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	theirs, ours := os.NewFile(uintptr(fds[0]), "theirs"), os.NewFile(uintptr(fds[1]), "ours")
	t.Cleanup(func() { theirs.Close(); ours.Close() })
	if !hasPeer(fds[1]) {
		t.Error("a pair has no peers")
	}
	h := &helper{flags: &helperFlags{}, req: shim.AttachRequest{Network: shim.NetworkSpec{Name: "n"}}, id: "c", socket: ours, single: single, pid: 1, log: quiet(), stderr: io.Discard}
	a, err := c.Attach(t.Context(), "n", h.id, ifname, h.req)
	if err != nil {
		t.Fatal(err)
	}
	return h, a
}

// The helper of a descriptor ends when its guest has gone, and not when the shim
// only mistook a silent one.
func TestHelperEndsWithGuest(t *testing.T) {
	s, c := newDouble(t)
	h, a := newTestHelper(t, c, true)
	ctx := t.Context()
	s.peerless = true
	for i, frames := range []uint64{7, 8, 8} {
		s.frames = frames
		if over := h.check(ctx, c, a); over != (i == 2) || h.has && !over {
			t.Errorf("look %d: over %v, has %v", i, over, h.has)
		}
		h.give(ctx, c, a)
	}
	h.lost = nil
	if err := h.loop(ctx, c, a); err != nil { // ends by itself
		t.Error(err)
	}
}

// The helper of a path hands its socket over again when the attachment was deleted by
// others, and stays when a guest goes: the next may come.
func TestHelperAgain(t *testing.T) {
	s, c := newDouble(t)
	h, a := newTestHelper(t, c, false)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s.peerless = true
	h.give(ctx, c, a)
	for range 4 {
		if h.check(ctx, c, a) || !h.has {
			t.Fatalf("a guest that is not there: has %v", h.has)
		}
	}
	s.there = nil
	if h.check(ctx, c, a) || h.has {
		t.Errorf("after the attachment was deleted: has %v", h.has)
	}
}

// vmnet-run that is told to end before its program has begun starts none, and
// leaves no attachment.
func TestRunIsTold(t *testing.T) {
	s, c := newDouble(t)
	ctx, cancel := context.WithCancel(t.Context())
	ran := false
	cfg := Config{
		Environment: func(shim.Attachment) []string { cancel(); return nil },
		RunChild: func(ctx context.Context, _, _ []string, _ []*os.File, _ func()) (int, error) {
			ran = ctx.Err() == nil
			return 0, ctx.Err()
		},
	}
	if err := runOn(ctx, cfg, c, shim.AttachRequest{Network: shim.NetworkSpec{Name: "n"}}, "c", nil); !errors.Is(err, context.Canceled) || ran {
		t.Errorf("%v, ran %v", err, ran)
	}
	if got, want := strings.Join(s.done(), " "), "put frames delete"; got != want {
		t.Errorf("the shim was asked to %s, want %s", got, want)
	}
}

// A fault that lasts is told once, and so is its end.
func TestSore(t *testing.T) {
	var out strings.Builder
	log := logrus.New()
	log.SetOutput(&out)
	var s sore
	for _, err := range []error{nil, io.EOF, io.EOF, io.ErrClosedPipe, nil, nil} {
		s.tell(log, err, "shim not reached")
	}
	got := out.String()
	if strings.Count(got, "\n") != 3 || strings.Count(got, "level=warning") != 2 || strings.Count(got, "no more: shim not reached") != 1 {
		t.Error(got)
	}
}

// FuzzSource reads the beginning of a guest's stream.
func FuzzSource(f *testing.F) {
	f.Add([]byte{0, 0, 0, 60, 255, 255, 255, 255, 255, 255, 0x52, 0x54, 0, 0, 0, 1})
	f.Add(make([]byte, peekLen))
	f.Fuzz(func(t *testing.T, head []byte) {
		if len(head) != peekLen { // as peekMAC has it
			return
		}
		if mac, err := sourceOf(head); err == nil && (len(containerID(mac)) != len("mac-")+12 || mac[0]&1 != 0) {
			t.Errorf("%x: %s, %s", head, mac, containerID(mac))
		}
	})
}
