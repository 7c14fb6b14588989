package shim

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"time"
)

// Package net/http would do what is in this file and in response.go. It brings
// TLS, HTTP/2 and their tables with it: a third of the start of the plugin, which
// is part of every verb. Both ends are of this project, and the socket is local.

// Methods of the API's requests.
const (
	methodGet    = "GET"
	methodPut    = "PUT"
	methodPost   = "POST"
	methodDelete = "DELETE"
)

// Bounds of a transport's idle connections.
const (
	maxIdle  = 4
	idleTime = 10 * time.Second
)

// A transport makes HTTP/1.1 requests (RFC 9112) of one server. Its methods may
// be called from several goroutines. Requests that are under way at the same time
// have a connection each.
type transport struct {
	dial func(context.Context) (*net.UnixConn, error)

	mu   sync.Mutex // guards idle
	idle []*httpConn
}

// An httpConn is a connection on which nothing, or one exchange, is under way.
type httpConn struct {
	*net.UnixConn
	r     *bufio.Reader
	timer *time.Timer // closes it when it has been idle for long
}

// do makes a request and returns the answer as soon as its head is there. ctx
// bounds the whole exchange. The caller closes the answer.
//
// A connection that the server closed while it was idle looks like a server that
// left: then the request is made once more, on a new one.
func (t *transport) do(ctx context.Context, method, path string, body []byte) (*response, error) {
	text := requestText(method, path, body)
	if c := t.reuse(); c != nil {
		resp, err := t.exchange(ctx, c, text)
		if err == nil || !gone(err) || ctx.Err() != nil {
			return resp, err
		}
		t.close() // the others are as old
	}
	conn, err := t.dial(ctx)
	if err != nil {
		return nil, err
	}
	return t.exchange(ctx, &httpConn{UnixConn: conn, r: bufio.NewReader(conn)}, text)
}

// exchange sends a request on c, which it owns, and reads the head of the answer.
func (t *transport) exchange(ctx context.Context, c *httpConn, request []byte) (*response, error) {
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	_, werr := c.Write(request)
	// A server that refuses early has answered all the same.
	resp, err := readResponse(c.r)
	if err != nil {
		if werr != nil {
			err = werr
		}
		stop()
		_ = c.Close()
		return nil, inTime(ctx, err)
	}
	resp.done = func(whole bool) error {
		if stop() && whole && werr == nil && !resp.last {
			return t.put(c)
		}
		return c.Close()
	}
	resp.ctx, resp.half = ctx, c.CloseWrite
	return resp, nil
}

// inTime returns why ctx ended, if it did, else err.
func inTime(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		return ctx.Err()
	}
	return err
}

// requestText returns a request. The path has nothing that must be escaped.
func requestText(method, path string, body []byte) []byte {
	var b bytes.Buffer
	// The host is not used; HTTP/1.1 wants one (RFC 9112, section 3.2).
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: shim\r\n", method, path)
	if body != nil {
		b.WriteString("Content-Type: application/json\r\n")
	}
	if body != nil || method != methodGet {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	b.WriteString("\r\n")
	b.Write(body)
	return b.Bytes()
}

// reuse returns an idle connection, or nil.
func (t *transport) reuse() *httpConn {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.idle) > 0 {
		c := t.idle[len(t.idle)-1]
		t.idle = t.idle[:len(t.idle)-1]
		if c.timer.Stop() {
			return c
		}
	}
	return nil
}

// put keeps a connection whose exchange is over.
func (t *transport) put(c *httpConn) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.idle) == maxIdle || c.r.Buffered() > 0 {
		return c.Close()
	}
	c.timer = time.AfterFunc(idleTime, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.idle = slices.DeleteFunc(t.idle, func(o *httpConn) bool { return o == c })
		_ = c.Close() // nothing is under way on it
	})
	t.idle = append(t.idle, c)
	return nil
}

// close closes the idle connections.
func (t *transport) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range t.idle {
		c.timer.Stop()
		_ = c.Close() // nothing is under way on it
	}
	t.idle = nil
}
