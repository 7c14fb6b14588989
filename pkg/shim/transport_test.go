package shim

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vmnet-cni/vmnet/internal/tempdir"
)

// served is a server of net/http on a socket, and the transport to it.
func served(t *testing.T, h http.HandlerFunc) *transport {
	t.Helper()
	path := socketIn(t)
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h}
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.Serve(l) })
	tr := &transport{dial: func(ctx context.Context) (*net.UnixConn, error) { return dial(ctx, path) }}
	t.Cleanup(func() { tr.close(); _ = srv.Close(); wg.Wait() })
	return tr
}

// The transport and net/http's server understand each other: bodies of every
// length and framing, one connection for all.
func TestTransport(t *testing.T) {
	var peers sync.Map
	tr := served(t, func(w http.ResponseWriter, r *http.Request) {
		peers.Store(r.Context().Value(http.LocalAddrContextKey), true)
		got, _ := io.ReadAll(r.Body)
		switch r.URL.Path {
		case "/none":
			w.WriteHeader(http.StatusNoContent)
		case "/parts":
			for range 3 {
				_, _ = w.Write(got)
				_ = http.NewResponseController(w).Flush()
			}
		default:
			w.WriteHeader(http.StatusTeapot)
			_, _ = w.Write(got)
		}
	})
	for _, n := range []int{0, 1, 100, 2048, 4096, 5000, 1 << 20} {
		text := strings.Repeat("x", n)
		for path, want := range map[string]struct {
			status int
			body   string
		}{"/none": {204, ""}, "/echo": {418, text}, "/parts": {200, text + text + text}} {
			resp, err := tr.do(t.Context(), "POST", path, []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(resp)
			if err != nil || resp.status != want.status || string(got) != want.body {
				t.Errorf("%s with %d bytes: status %d, %d bytes, %v", path, n, resp.status, len(got), err)
			}
			if err := resp.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	if len(tr.idle) != 1 {
		t.Errorf("%d idle connections, want one that served all", len(tr.idle))
	}
}

// An exchange ends with its context, also in the middle of a body.
func TestTransportContext(t *testing.T) {
	tr := served(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/body" {
			_, _ = w.Write([]byte("x"))
			_ = http.NewResponseController(w).Flush()
		}
		<-r.Context().Done()
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := tr.do(ctx, "GET", "/head", nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("no head: %v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	resp, err := tr.do(ctx, "GET", "/body", nil)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := io.ReadAll(resp); !errors.Is(err, context.Canceled) {
		t.Errorf("half a body: %v", err)
	}
	_ = resp.Close()
	if len(tr.idle) != 0 {
		t.Error("a connection with half an answer is used again")
	}
}

// Answers that no server of ours gives are errors.
func TestReadResponse(t *testing.T) {
	for text, want := range map[string]string{
		"":                             "EOF",
		"HTTP/1.1 200 OK":              "unexpected EOF",
		"HTTP/1.1 200 OK\r\nA: b":      "unexpected EOF",
		"HTTP/2 200 OK\r\n\r\n":        "status line",
		"HTTP/1.1 abc\r\n\r\n":         "status line",
		"HTTP/1.1 200 OK\r\nA\r\n\r\n": "header",
		"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n":                    "Content-Length",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n":               "Transfer-Encoding",
		"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort":                "unexpected EOF",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx":           "unexpected EOF",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\n":         "chunk size",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n": "end of a chunk",
		"HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", 200) + "\r\n":   "at most 100 lines",
		"HTTP/1.1 200 " + strings.Repeat("x", maxHead) + "\r\n\r\n":        "more than",
	} {
		resp, err := readResponse(bufio.NewReader(strings.NewReader(text)))
		if err == nil {
			_, err = io.ReadAll(resp)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: %v, want %q", text, err, want)
		}
	}
}

// FuzzReadResponse: no answer can panic, or be read for longer than it is.
func FuzzReadResponse(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.0 200 OK\r\n\r\nall",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\n{}\r\n0\r\nTrailer: 1\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		resp, err := readResponse(bufio.NewReader(strings.NewReader(string(b))))
		if err != nil {
			return
		}
		if n, _ := io.Copy(io.Discard, resp); n > int64(len(b)) {
			t.Error(fmt.Errorf("%d bytes of %d", n, len(b)))
		}
	})
}

// TestHungShim has a shim that listens and never accepts: Ensure is content with it,
// and calls end in time.
func TestHungShim(t *testing.T) {
	path := socketIn(t)
	l, err := Listen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := Ensure(t.Context(), EnsureConfig{Address: path, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c = newClient(path, 200*time.Millisecond)
	defer c.Close()
	calls := map[string]func() error{
		"status": func() error { _, err := c.Status(t.Context()); return err },
		"frames": func() error { _, _, err := c.Frames(t.Context(), "n", "c", "e"); return err },
		"detach": func() error { return c.Detach(t.Context(), "n", "c", "e") },
	}
	for name, call := range calls {
		if err := call(); CodeOf(err) != CodeUnavailable || errors.Is(err, ErrNotRunning) {
			t.Errorf("%s: %v, want unavailable, and not ErrNotRunning", name, err)
		}
	}
}

// socketIn returns the path of a socket in a directory that ends with the test, and
// short enough wherever temporary files are.
func socketIn(t *testing.T) string {
	t.Helper()
	dir, err := tempdir.Make("st")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}
