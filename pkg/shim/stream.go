package shim

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// CaptureOptions say what a capture takes.
type CaptureOptions struct {
	Filter  string // in the language of pcap-filter(7); see pkg/capture. Empty: all frames
	SnapLen int    // bytes of a frame; 0: all
	Count   uint64 // frames, after which the capture ends; 0: no end
}

// A Stream is an answer without an end, for one goroutine to read and one to stop.
type Stream struct{ resp *response }

// Read reads what the shim sends.
func (s *Stream) Read(p []byte) (int, error) { return s.resp.Read(p) }

// Stop asks the shim to end the stream: Read returns what is still to come, and
// then io.EOF.
func (s *Stream) Stop() error { return s.resp.half() }

// Close ends the stream at once. It is idempotent.
func (s *Stream) Close() error { return s.resp.Close() }

// Capture returns the frames of an attachment as pcapng, as they come, until the
// caller stops or closes it, ctx ends, or the attachment or the shim goes. The
// client's timeout does not bound it.
func (c *Client) Capture(ctx context.Context, network, containerID, ifname string, o CaptureOptions) (*Stream, error) {
	var q []string
	if o.Filter != "" {
		q = append(q, "filter="+escape(o.Filter))
	}
	if o.SnapLen > 0 {
		q = append(q, "snaplen="+strconv.Itoa(o.SnapLen))
	}
	if o.Count > 0 {
		q = append(q, "count="+strconv.FormatUint(o.Count, 10))
	}
	path := attachmentPath(network, containerID, ifname) + "/capture"
	if len(q) > 0 {
		path += "?" + strings.Join(q, "&")
	}
	return c.stream(ctx, about("capture", network, containerID, ifname), path)
}

// Events returns what happens, as lines of JSON, each an Event, until the caller
// closes it, ctx ends or the shim goes. The client's timeout does not bound it.
func (c *Client) Events(ctx context.Context) (*Stream, error) {
	return c.stream(ctx, "events", "/"+APIVersion+"/events")
}

// Metrics returns the answer of /metrics, in the text format of Prometheus.
func (c *Client) Metrics(ctx context.Context) (io.ReadCloser, error) {
	return c.stream(ctx, "metrics", "/metrics")
}

func (c *Client) stream(ctx context.Context, op, path string) (*Stream, error) {
	resp, err := c.http.do(ctx, methodGet, path, nil)
	if err != nil {
		return nil, c.wrap(op, err)
	}
	if resp.status != 200 {
		defer resp.Close()
		if err := decodeAnswer(resp, nil); err != nil {
			return nil, c.wrap(op, err)
		}
		return nil, Errorf(CodeInternal, "%s: answer with status %s, want 200", op, resp.text)
	}
	return &Stream{resp}, nil
}

// escape escapes a query's value (RFC 3986, section 3.4).
func escape(text string) string {
	var b strings.Builder
	for i := range len(text) {
		switch c := text[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-._~", c) >= 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%s", strings.ToUpper(hex.EncodeToString([]byte{c})))
		}
	}
	return b.String()
}
