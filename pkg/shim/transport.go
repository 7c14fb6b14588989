package shim

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
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
// left: the caller makes the request again, and then no idle one is left.
func (t *transport) do(ctx context.Context, method, path string, body []byte) (*response, error) {
	c, err := t.get(ctx)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	_, werr := c.Write(requestText(method, path, body))
	// A server that refuses early has answered all the same.
	resp, err := readResponse(c.r)
	if err != nil {
		if werr != nil {
			err = werr
		}
		stop()
		_ = c.Close()
		t.close()
		return nil, inTime(ctx, err)
	}
	resp.done = func(whole bool) error {
		if stop() && whole && werr == nil && !resp.last {
			return t.put(c)
		}
		return c.Close()
	}
	resp.ctx = ctx
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

// get returns an idle connection or a new one.
func (t *transport) get(ctx context.Context) (*httpConn, error) {
	t.mu.Lock()
	for len(t.idle) > 0 {
		c := t.idle[len(t.idle)-1]
		t.idle = t.idle[:len(t.idle)-1]
		if c.timer.Stop() {
			t.mu.Unlock()
			return c, nil
		}
	}
	t.mu.Unlock()
	conn, err := t.dial(ctx)
	if err != nil {
		return nil, err
	}
	return &httpConn{UnixConn: conn, r: bufio.NewReader(conn)}, nil
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

// A response is a server's answer. The caller reads body as far as it likes and
// closes the response.
type response struct {
	status int
	text   string // the status with its reason, as "404 Not Found"
	body   io.Reader
	last   bool // the server takes no more requests on this connection

	ctx  context.Context // nil: none
	done func(whole bool) error
	once sync.Once
	end  bool // body was read to its end
}

// Read reads the body.
func (r *response) Read(p []byte) (int, error) {
	n, err := r.body.Read(p)
	switch {
	case err == io.EOF: //nolint:errorlint // io.Reader returns it bare
		r.end = true
	case err != nil && r.ctx != nil:
		err = inTime(r.ctx, err)
	}
	return n, err
}

// Close gives the connection back if the body was read to its end, and closes it
// if not. It is idempotent.
func (r *response) Close() (err error) {
	r.once.Do(func() {
		if r.done != nil {
			err = r.done(r.end)
		}
	})
	return err
}

// Bounds of an answer's head, in bytes, and of its number of lines.
const (
	maxHead  = 8 << 10
	maxLines = 100
)

// readResponse reads the head of an answer. Its body is what r has next.
func readResponse(r *bufio.Reader) (*response, error) {
	line, err := readLine(r)
	if err != nil {
		return nil, err
	}
	resp, err := parseStatus(line)
	if err != nil {
		return nil, err
	}
	length, chunked := int64(-1), false
	for n := 0; ; n++ {
		line, err := readLine(r)
		if err != nil {
			return nil, unexpected(err)
		}
		if line == "" {
			break
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || n == maxLines {
			return nil, fmt.Errorf("answer: header %.40q: want at most %d lines of \"name: value\"", line, maxLines)
		}
		switch value = strings.TrimSpace(value); strings.ToLower(name) {
		case "content-length":
			if length, err = strconv.ParseInt(value, 10, 63); err != nil || length < 0 {
				return nil, fmt.Errorf("answer: Content-Length %.40q: want a number", value)
			}
		case "transfer-encoding":
			if chunked = strings.EqualFold(value, "chunked"); !chunked {
				return nil, fmt.Errorf("answer: Transfer-Encoding %.40q: want chunked", value)
			}
		case "connection":
			resp.last = resp.last || strings.EqualFold(value, "close")
		}
	}
	switch { // RFC 9112, section 6.3
	case resp.status == 204 || resp.status == 304 || resp.status < 200:
		resp.body = bytes.NewReader(nil)
	case chunked:
		resp.body = &chunks{r: r}
	case length >= 0:
		resp.body = &exactly{r, length}
	default:
		resp.body, resp.last = r, true
	}
	return resp, nil
}

// parseStatus reads a line as "HTTP/1.1 404 Not Found".
func parseStatus(line string) (*response, error) {
	version, text, _ := strings.Cut(line, " ")
	code, _, _ := strings.Cut(text, " ")
	status, err := strconv.Atoi(code)
	if err != nil || status < 100 || status > 999 || !strings.HasPrefix(version, "HTTP/1.") {
		return nil, fmt.Errorf("answer: status line %.40q: want one of HTTP/1.1", line)
	}
	return &response{status: status, text: text, last: version != "HTTP/1.1"}, nil
}

// readLine reads a line without its end. A line that ends early is io.EOF or
// io.ErrUnexpectedEOF.
func readLine(r *bufio.Reader) (string, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > maxHead:
			return "", fmt.Errorf("answer: a line of more than %d bytes", maxHead)
		case err == bufio.ErrBufferFull: //nolint:errorlint // bufio returns it bare
			continue
		case err == io.EOF && len(line) > 0:
			return "", io.ErrUnexpectedEOF
		case err != nil:
			return "", err
		}
		return strings.TrimRight(string(line), "\r\n"), nil
	}
}

// unexpected makes an end of input inside of something an error.
func unexpected(err error) error {
	if err == io.EOF { //nolint:errorlint // readers return it bare
		return io.ErrUnexpectedEOF
	}
	return err
}

// An exactly reads so many bytes.
type exactly struct {
	r    io.Reader
	left int64
}

func (e *exactly) Read(p []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	n, err := e.r.Read(p[:min(int64(len(p)), e.left)])
	e.left -= int64(n)
	if e.left > 0 {
		return n, unexpected(err)
	}
	return n, nil
}

// chunks reads a body in the chunked transfer coding (RFC 9112, section 7.1).
// Trailers are read and dropped.
type chunks struct {
	r    *bufio.Reader
	now  exactly
	some bool // a chunk has begun, and its end has not been read
	err  error
}

func (c *chunks) Read(p []byte) (n int, err error) {
	for c.err == nil && c.now.left == 0 {
		c.next()
	}
	if c.err != nil || len(p) == 0 {
		return 0, c.err
	}
	n, c.err = c.now.Read(p)
	return n, c.err
}

// next reads the end of a chunk and the head of the one after it.
func (c *chunks) next() {
	line, err := readLine(c.r)
	if err == nil && c.some {
		if line != "" {
			err = fmt.Errorf("answer: %.40q: want the end of a chunk", line)
		} else {
			line, err = readLine(c.r)
		}
	}
	if err != nil {
		c.err = unexpected(err)
		return
	}
	size, _, _ := strings.Cut(line, ";")
	length, err := strconv.ParseInt(strings.TrimSpace(size), 16, 63)
	switch {
	case err != nil || length < 0:
		c.err = fmt.Errorf("answer: chunk size %.40q: want a hexadecimal number", size)
	case length == 0:
		for n := 0; c.err == nil; n++ {
			if line, c.err = readLine(c.r); line == "" || n == maxLines {
				break
			}
		}
		if c.err = unexpected(c.err); c.err == nil {
			c.err = io.EOF
		}
	}
	c.now, c.some = exactly{c.r, length}, true
}
