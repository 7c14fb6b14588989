package shim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/handover"
)

// DefaultTimeout bounds a call of a Client whose context has no deadline.
const DefaultTimeout = 10 * time.Second

// attempts is how often a request is made, or a shim started, while shims leave
// before they answer.
const attempts = 3

// maxAnswer is the longest answer that a Client reads, in bytes.
const maxAnswer = 16 << 20

// A Client talks to one shim. Its methods may be called from several
// goroutines. Their errors are *Error: as the shim sent them, or with
// CodeUnavailable when it did not answer in time or nobody listens (then they
// also wrap ErrNotRunning), or with CodeInternal when it refused a frame fd.
//
// Every call may be repeated without harm. A call that finds its connection
// closed before an answer came, as when the shim left just then, is repeated, twice
// at most; a Client from Ensure starts a new shim for that.
type Client struct {
	addr    string
	timeout time.Duration
	http    *transport
	first   atomic.Pointer[net.UnixConn] // of Ensure, for the first request
	revive  func(context.Context) error  // starts a shim when none is there; nil: none
}

// NewClient returns a client for the shim that listens on the socket addr, a
// path with or without "unix://" in front. It does not connect yet.
func NewClient(addr string) *Client {
	return newClient(addr, DefaultTimeout)
}

func newClient(addr string, timeout time.Duration) *Client {
	c := &Client{addr: socketPath(addr), timeout: timeout}
	c.http = &transport{dial: func(ctx context.Context) (*net.UnixConn, error) {
		if conn := c.first.Swap(nil); conn != nil {
			return conn, nil
		}
		return dial(ctx, c.addr)
	}}
	return c
}

func socketPath(addr string) string { return strings.TrimPrefix(addr, "unix://") }

// Address returns the path of the socket.
func (c *Client) Address() string { return c.addr }

// Close closes idle connections. The client can still be used.
func (c *Client) Close() error {
	c.http.close()
	if conn := c.first.Swap(nil); conn != nil {
		return conn.Close()
	}
	return nil
}

// Status returns what the shim says of itself.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	return s, c.call(ctx, "status", methodGet, "/"+APIVersion+"/status", nil, &s)
}

// Networks lists the networks that have attachments of the caller's, sorted by
// name.
func (c *Client) Networks(ctx context.Context) ([]Network, error) {
	var n []Network
	return n, c.call(ctx, "list networks", methodGet, "/"+APIVersion+"/networks", nil, &n)
}

// Network returns one network.
func (c *Client) Network(ctx context.Context, network string) (Network, error) {
	var n Network
	return n, c.call(ctx, "get network "+network, methodGet, networkPath(network), nil, &n)
}

// Attachments lists the attachments of the caller, sorted by network, container
// ID and ifname. Root gets all.
func (c *Client) Attachments(ctx context.Context) ([]Attachment, error) {
	var a []Attachment
	return a, c.call(ctx, "list attachments", methodGet, "/"+APIVersion+"/attachments", nil, &a)
}

// Attachment returns one attachment.
func (c *Client) Attachment(ctx context.Context, network, containerID, ifname string) (Attachment, error) {
	var a Attachment
	return a, c.call(ctx, about("get", network, containerID, ifname), methodGet, attachmentPath(network, containerID, ifname), nil, &a)
}

// Attach makes an attachment, or returns the one that an equal request made.
func (c *Client) Attach(ctx context.Context, network, containerID, ifname string, req AttachRequest) (Attachment, error) {
	var a Attachment
	return a, c.call(ctx, about("attach", network, containerID, ifname), methodPut, attachmentPath(network, containerID, ifname), req, &a)
}

// Detach deletes an attachment. It is no error when there is none.
func (c *Client) Detach(ctx context.Context, network, containerID, ifname string) error {
	return c.call(ctx, about("detach", network, containerID, ifname), methodDelete, attachmentPath(network, containerID, ifname), nil, nil)
}

// GC deletes every attachment of the network that is the caller's and not in
// valid, and returns what it deleted. With an error, the rest was still tried.
func (c *Client) GC(ctx context.Context, network string, valid []AttachmentID) ([]AttachmentID, error) {
	var r GCResult
	if valid == nil {
		valid = []AttachmentID{} // the shim refuses null, which could be an accident
	}
	err := c.call(ctx, "gc "+network, methodPost, networkPath(network)+"/gc", GCRequest{Valid: valid}, &r)
	return r.Deleted, err
}

func about(verb, network, containerID, ifname string) string {
	return verb + " " + network + "/" + containerID + "/" + ifname
}

// call makes one request and decodes the answer into out, unless it is nil.
func (c *Client) call(ctx context.Context, op, method, path string, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = requestBody(in); err != nil {
			return &Error{Code: CodeInvalid, Message: op + ": " + err.Error()}
		}
	}
	ctx, cancel := c.bound(ctx)
	defer cancel()
	return c.retry(ctx, op, func(sent *atomic.Bool) error {
		return c.once(ctx, method, path, body, out, sent)
	})
}

// bound limits ctx to the client's timeout.
func (c *Client) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, c.timeout)
}

// retry runs do, and again when the shim turned out to be gone.
func (c *Client) retry(ctx context.Context, op string, do func(answered *atomic.Bool) error) error {
	var answered atomic.Bool
	err := do(&answered)
	for n := 1; n < attempts && err != nil && !answered.Load() && gone(err) && ctx.Err() == nil; n++ {
		if c.revive != nil {
			if err := c.revive(ctx); err != nil {
				return c.wrap(op, err)
			}
		}
		err = do(&answered)
	}
	return c.wrap(op, err)
}

// once makes one request. answered is set as soon as an answer begins.
func (c *Client) once(ctx context.Context, method, path string, body []byte, out any, answered *atomic.Bool) error {
	resp, err := c.http.do(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer resp.Close()
	answered.Store(true)
	return decodeAnswer(resp, out)
}

// decodeAnswer reads a success into out, anything else into the error.
func decodeAnswer(resp *response, out any) error {
	data, err := io.ReadAll(io.LimitReader(resp, maxAnswer))
	if err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	if resp.status >= 300 {
		e := &Error{}
		if json.Unmarshal(data, e) != nil || e.Code == "" {
			return Errorf(CodeInternal, "answer with status %s that is not of a vmnet shim", resp.text)
		}
		return e
	}
	if out == nil {
		return nil
	}
	if err := readAnswer(data, out); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	return nil
}

// wrap makes every error of a call an *Error.
func (c *Client) wrap(op string, err error) error {
	var e *Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e):
		return err
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded):
		return &Error{Code: CodeUnavailable, Message: fmt.Sprintf("%s: shim %s: no answer in time (at most %s)%s", op, c.addr, c.timeout, c.whyDown()), cause: err}
	case errors.Is(err, context.Canceled):
		return &Error{Code: CodeUnavailable, Message: fmt.Sprintf("%s: shim %s: %v", op, c.addr, context.Canceled), cause: err}
	case notListening(err):
		return &Error{Code: CodeUnavailable, Message: fmt.Sprintf("%s: shim %s: %v", op, c.addr, ErrNotRunning), cause: ErrNotRunning}
	case errors.As(err, new(*handover.RefusedError)): // it was there, and said no
		return &Error{Code: CodeInternal, Message: fmt.Sprintf("%s: %v", op, err), cause: err}
	case errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.EPERM):
		return &Error{Code: CodeDenied, Message: fmt.Sprintf("%s: shim %s: %v", op, c.addr, err), cause: err}
	}
	return &Error{Code: CodeUnavailable, Message: fmt.Sprintf("%s: shim %s: %v%s", op, c.addr, err, c.whyDown()), cause: err}
}

// whyDown adds what the keeper tells of a shim that dies too often.
func (c *Client) whyDown() string {
	if p, err := KeeperProblem(filepath.Dir(c.addr)); err == nil && p != "" {
		return ": " + p
	}
	return ""
}

// dial connects to the shim's socket, and to nobody else's.
func dial(ctx context.Context, path string) (*net.UnixConn, error) {
	if len(path) > MaxSocketPath {
		return nil, Invalidf("shim.address", path, "%d bytes, want at most %d", len(path), MaxSocketPath)
	}
	c, err := handover.Connect(ctx, path)
	if err != nil {
		return nil, err
	}
	if err := checkShim(c, path); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// notListening reports whether err says that nobody listens.
func notListening(err error) bool {
	return errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ECONNREFUSED)
}

// gone reports whether err is what a caller sees of a shim that left.
func gone(err error) bool {
	return notListening(err) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
