package handover_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/pkg/handover"
)

// sample is a message that is right.
func sample() handover.Message {
	return handover.Message{
		Network: "shared", ContainerID: "vm1", IfName: "eth0", Kind: handover.KindDgram,
		MAC: "02:00:00:00:00:01", MTU: 1500, MaxFrameSize: 1514, IPs: []string{"192.168.127.2/24"},
	}
}

const sampleLine = `{"version":1,"network":"shared","containerID":"vm1","ifname":"eth0","kind":"dgram",` +
	`"mac":"02:00:00:00:00:01","mtu":1500,"maxFrameSize":1514,"offload":false,"ips":["192.168.127.2/24"]}`

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// conns returns a connected pair of stream sockets.
func conns(t *testing.T) (a, b *net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	out := make([]*net.UnixConn, 2)
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "pair")
		c, err := net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		out[i] = c.(*net.UnixConn)
		t.Cleanup(func() { c.Close() })
	}
	return out[0], out[1]
}

// guestEnd returns the guest's end of a pair and a function that proves that a
// file is a duplicate of it.
func guestEnd(t *testing.T) (*os.File, func(*os.File)) {
	t.Helper()
	guest, host, err := handover.Pair(handover.KindDgram, 1514, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { guest.Close(); host.Close() })
	return guest, func(f *os.File) {
		t.Helper()
		frame := bytes.Repeat([]byte{7}, 60)
		if _, err := host.Write(frame); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 100)
		if n, err := f.Read(buf); err != nil || !bytes.Equal(buf[:n], frame) {
			t.Fatalf("read through the fd: %d bytes, %v", n, err)
		}
	}
}

func TestSendReceive(t *testing.T) {
	noFDLeak(t)
	a, b := conns(t)
	guest, proves := guestEnd(t)
	ctx := testContext(t)
	sent := make(chan error, 1)
	go func() { sent <- handover.Send(ctx, a, sample(), guest) }()
	m, f, err := handover.Receive(ctx, b)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if m.Version != handover.Version || m.Network != "shared" || m.MaxFrameSize != 1514 || m.IPs[0] != "192.168.127.2/24" {
		t.Errorf("message = %+v", m)
	}
	if flags(t, f, unix.F_GETFD)&unix.FD_CLOEXEC == 0 {
		t.Error("received fd is not close-on-exec")
	}
	proves(f)
	if err := handover.Answer(ctx, b, nil); err != nil {
		t.Fatal(err)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
}

// The line is what the contract says, to the byte.
func TestWireFormat(t *testing.T) {
	a, b := conns(t)
	guest, _ := guestEnd(t)
	ctx := testContext(t)
	sent := make(chan error, 1)
	go func() { sent <- handover.Send(ctx, a, sample(), guest) }()
	buf, oob := make([]byte, 4096), make([]byte, 256)
	n, oobn, _, _, err := b.ReadMsgUnix(buf, oob)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(buf[:n]), sampleLine+"\n"; got != want {
		t.Errorf("line = %s\nwant   %s", got, want)
	}
	if fds := rights(t, oob[:oobn]); len(fds) != 1 {
		t.Errorf("%d descriptors: want 1", len(fds))
	}
	if _, err := b.Write([]byte(`{"ok":true}` + "\n")); err != nil {
		t.Fatal(err)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
}

// rights returns the descriptors in a control message and closes them at the end.
func rights(t *testing.T, oob []byte) (fds []int) {
	t.Helper()
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		t.Fatal(err)
	}
	for i := range messages {
		got, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			t.Fatal(err)
		}
		fds = append(fds, got...)
	}
	t.Cleanup(func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	})
	return fds
}

// What a receiver refuses: the error names the culprit, the giver is told, and
// no descriptor stays open.
func TestReceiveRefuses(t *testing.T) {
	noFDLeak(t)
	guest, _ := guestEnd(t)
	stream, streamHost, err := handover.Pair(handover.KindStream, 1514, false)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	defer streamHost.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	udp, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	udpFile := os.NewFile(uintptr(udp), "udp")
	defer udpFile.Close()

	change := func(old, new string) string { return strings.Replace(sampleLine, old, new, 1) + "\n" }
	many := make([]*os.File, 200)
	for i := range many {
		many[i] = guest
	}
	one := []*os.File{guest}
	for _, tt := range []struct {
		name  string
		line  string
		files []*os.File // with the first byte
		later []*os.File // with the second write
		more  string     // second write
		want  string
	}{
		{name: "no fd", line: sampleLine + "\n", want: "0 descriptors"},
		{name: "two fds", line: sampleLine + "\n", files: []*os.File{guest, guest}, want: "2 descriptors"},
		{name: "200 fds", line: sampleLine + "\n", files: many, want: "200 descriptors"},
		{name: "fd with a later byte", line: "{", more: sampleLine[1:] + "\n", later: one, want: "0 descriptors"},
		{name: "second fd later", line: "{", files: one, more: sampleLine[1:] + "\n", later: one, want: "2 descriptors"},
		{name: "version 2", line: change(`"version":1`, `"version":2`), files: one, want: "version 2"},
		{name: "version missing", line: change(`"version":1,`, ``), files: one, want: "version 0"},
		{name: "version a string", line: change(`"version":1`, `"version":"1"`), files: one, want: "version"},
		{name: "network empty", line: change(`"shared"`, `""`), files: one, want: "network"},
		{name: "containerID empty", line: change(`"vm1"`, `""`), files: one, want: "containerID"},
		{name: "ifname empty", line: change(`"eth0"`, `""`), files: one, want: "ifname"},
		{name: "kind unknown", line: change(`"dgram"`, `"seqpacket"`), files: one, want: `kind "seqpacket"`},
		{name: "mac malformed", line: change(`02:00:00:00:00:01`, `02:00`), files: one, want: `mac "02:00"`},
		{name: "mac of a group", line: change(`02:00:00:00:00:01`, `03:00:00:00:00:01`), files: one, want: "mac"},
		{name: "mtu 0", line: change(`"mtu":1500`, `"mtu":0`), files: one, want: "mtu 0"},
		{name: "mtu huge", line: change(`"mtu":1500`, `"mtu":65536`), files: one, want: "mtu 65536"},
		{name: "frame below mtu", line: change(`:1514`, `:1500`), files: one, want: "maxFrameSize 1500"},
		{name: "frame huge", line: change(`:1514`, `:1000000`), files: one, want: "maxFrameSize 1000000"},
		{name: "ip without length", line: change(`127.2/24`, `127.2`), files: one, want: `ips[0] "192.168.127.2"`},
		{name: "null", line: "null\n", files: one, want: "not a JSON object"},
		{name: "garbage", line: "hello\n", files: one, want: "not a JSON object"},
		{name: "array", line: "[" + sampleLine + "]\n", files: one, want: "not a JSON object"},
		{name: "two objects", line: sampleLine + sampleLine + "\n", files: one, want: "after top-level value"},
		{name: "bytes after the line", line: sampleLine + "\nmore", files: one, want: "4 bytes after the line"},
		{name: "cut short", line: sampleLine, files: one, want: "unexpected EOF"},
		{name: "too long", line: strings.Repeat("x", handover.MaxLine+1), files: one, want: "longer than"},
		{name: "kind stream, fd dgram", line: change(`"dgram"`, `"stream"`), files: one, want: `of kind "dgram"`},
		{name: "kind dgram, fd stream", line: sampleLine + "\n", files: []*os.File{stream}, want: `of kind "stream"`},
		{name: "fd is a file", line: sampleLine + "\n", files: []*os.File{null}, want: "neither a socket"},
		{name: "fd is of UDP", line: sampleLine + "\n", files: []*os.File{udpFile}, want: "not of the unix domain"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			noFDLeak(t)
			a, b := conns(t)
			defer a.Close()
			defer b.Close()
			go func() {
				sendRaw(a, tt.line, tt.files)
				if tt.more != "" {
					sendRaw(a, tt.more, tt.later)
				}
				_ = a.CloseWrite()
			}()
			_, f, err := handover.Receive(testContext(t), b)
			if err == nil {
				f.Close()
				t.Fatal("Receive succeeded")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v: want it to say %q", err, tt.want)
			}
			if tt.name != "cut short" && !errors.Is(err, handover.ErrProtocol) {
				t.Errorf("error %v does not wrap ErrProtocol", err)
			}
			_ = b.CloseWrite()
			reply, _ := io.ReadAll(a)
			if !strings.Contains(string(reply), `{"error":`) {
				t.Errorf("answer = %q: want an error", reply)
			}
		})
	}
}

// sendRaw writes with the descriptors of files on the first byte.
func sendRaw(c *net.UnixConn, s string, files []*os.File) {
	var fds []int
	for _, f := range files {
		raw, _ := f.SyscallConn()
		_ = raw.Control(func(fd uintptr) { fds = append(fds, int(fd)) })
	}
	var oob []byte
	if fds != nil {
		oob = unix.UnixRights(fds...)
	}
	n, _, _ := c.WriteMsgUnix([]byte(s), oob, nil)
	_, _ = c.Write([]byte(s[n:]))
}

// What a giver makes of answers.
func TestSendAnswers(t *testing.T) {
	noFDLeak(t)
	guest, _ := guestEnd(t)
	refused := new(handover.RefusedError)
	for _, tt := range []struct {
		name, answer, want string
		is                 error
	}{
		{"refused", `{"error":"no machine of that name"}` + "\n", "refused: no machine of that name", nil},
		{"ok and error", `{"ok":true,"error":"x"}` + "\n", "refused: x", nil},
		{"neither", "{}\n", "want ok or error", handover.ErrProtocol},
		{"not ok", `{"ok":false}` + "\n", "want ok or error", handover.ErrProtocol},
		{"garbage", "yes\n", `answer "yes"`, handover.ErrProtocol},
		{"null", "null\n", "not a JSON object", handover.ErrProtocol},
		{"ok a string", `{"ok":"true"}` + "\n", "answer", handover.ErrProtocol},
		{"more than a line", `{"ok":true}` + "\nx", "1 bytes after", handover.ErrProtocol},
		{"too long", strings.Repeat(" ", handover.MaxLine+1), "longer than", handover.ErrProtocol},
		{"closed", "", "EOF", io.ErrUnexpectedEOF},
		{"cut short", `{"ok":true}`, "EOF", io.ErrUnexpectedEOF},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, b := conns(t)
			go func() {
				sendRaw(b, tt.answer, nil)
				_ = b.CloseWrite()
			}()
			err := handover.Send(testContext(t), a, sample(), guest)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v: want it to say %q", err, tt.want)
			}
			if tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("error %v: want it to be %v", err, tt.is)
			}
			if tt.is == nil && !errors.As(err, &refused) {
				t.Errorf("error %v: want a RefusedError", err)
			}
		})
	}
}

func TestTimeouts(t *testing.T) {
	noFDLeak(t)
	guest, _ := guestEnd(t)
	a, b := conns(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if err := handover.Send(ctx, a, sample(), guest); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Send without an answer: %v: want the context's error", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel)
	if _, _, err := handover.Receive(ctx, a); !errors.Is(err, context.Canceled) {
		t.Errorf("Receive of nothing: %v: want the context's error", err)
	}
	b.Close()
	if _, _, err := handover.Receive(testContext(t), a); !errors.Is(err, io.EOF) && !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("Receive from a closed peer: %v: want io.EOF", err)
	}
}

func TestSendRefusesBadMessage(t *testing.T) {
	guest, _ := guestEnd(t)
	a, _ := conns(t)
	m := sample()
	m.MTU = 0
	if err := handover.Send(testContext(t), a, m, guest); !errors.Is(err, handover.ErrProtocol) {
		t.Errorf("error = %v: want ErrProtocol", err)
	}
	m = sample()
	m.Network = strings.Repeat("n", handover.MaxLine)
	if err := handover.Send(testContext(t), a, m, guest); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("error = %v: want the limit named", err)
	}
}

func TestPushNobodyListens(t *testing.T) {
	noFDLeak(t)
	guest, _ := guestEnd(t)
	dir := t.TempDir()
	err := handover.Push(testContext(t), filepath.Join(dir, "none"), sample(), guest)
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no socket: %v: want os.ErrNotExist", err)
	}
	path := filepath.Join(dir, "dead")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	if err := handover.Push(testContext(t), path, sample(), guest); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("dead socket: %v: want ECONNREFUSED", err)
	}
	long := "/tmp/" + strings.Repeat("x", 200)
	if err := handover.Push(testContext(t), long, sample(), guest); err == nil || !strings.Contains(err.Error(), "at most 103") {
		t.Errorf("long path: %v: want the limit named", err)
	}
}

func TestInherited(t *testing.T) {
	noFDLeak(t)
	guest, proves := guestEnd(t)
	dup := func(f *os.File) (fd int) {
		raw, _ := f.SyscallConn()
		_ = raw.Control(func(p uintptr) { fd, _ = unix.Dup(int(p)) })
		return fd
	}
	f, err := handover.Inherited(uintptr(dup(guest)))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	proves(f)
	if flags(t, f, unix.F_GETFD)&unix.FD_CLOEXEC == 0 {
		t.Error("inherited fd is not close-on-exec")
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	fd := dup(null)
	if _, err := handover.Inherited(uintptr(fd)); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("inherit fd %d", fd)) {
		t.Errorf("Inherited of /dev/null: %v", err)
	}
	if err := unix.Close(fd); err != nil {
		t.Errorf("a refused descriptor was closed: %v", err)
	}
	if _, err := handover.Inherited(9999); !errors.Is(err, unix.EBADF) {
		t.Errorf("Inherited of a closed fd: %v: want EBADF", err)
	}
}
