package shim

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
)

// A response is a server's answer. The caller reads body as far as it likes and
// closes the response.
type response struct {
	status int
	text   string // the status with its reason, as "404 Not Found"
	body   io.Reader
	last   bool // the server takes no more requests on this connection

	ctx  context.Context // nil: none
	half func() error    // ends this side of the connection, and lets the server end its own
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
