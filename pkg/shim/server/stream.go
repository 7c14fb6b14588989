package server

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// maxStreams bounds the answers that have no end: captures and events.
const maxStreams = 32

// streamWrite bounds the time that a client takes to read a part of a stream; then
// it loses the stream.
const streamWrite = 30 * time.Second

// stream answers with what run writes, until the client goes, the shim leaves, or
// run returns. run's context ends then. flush sends what was written; run calls it.
func (s *Server) stream(w http.ResponseWriter, r *http.Request, kind string, run func(ctx context.Context, w io.Writer, flush func() error) error) error {
	select {
	case s.streams <- struct{}{}:
		defer func() { <-s.streams }()
	default:
		return shim.Errorf(shim.CodeExhausted, "streams: %d captures and event streams are under way: want no more", maxStreams)
	}
	ctl := http.NewResponseController(w)
	// The limits of one request do not hold for a stream, those of its parts do.
	// The client's going is noticed by the server's read in the background.
	ctx, cancel := context.WithCancel(clientContext(r))
	defer cancel()
	stop := context.AfterFunc(s.live, cancel)
	defer stop()
	if err := ctl.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(http.StatusOK)
	flush := func() error {
		if err := ctl.SetWriteDeadline(time.Now().Add(streamWrite)); err != nil {
			return err
		}
		return ctl.Flush()
	}
	if err := flush(); err != nil {
		return nil //nolint:nilerr // the client is gone; nobody is left to be told
	}
	if err := run(ctx, w, flush); err != nil && ctx.Err() == nil {
		s.cfg.Log.WithError(err).WithField("request", r.Method+" "+r.URL.Path).Debug("stream ended")
	}
	return nil
}

// clientKey is where serve keeps the context that ends with the client.
type clientKey struct{}

// clientContext returns the request's context without the time limit of an
// operation.
func clientContext(r *http.Request) context.Context {
	if ctx, ok := r.Context().Value(clientKey{}).(context.Context); ok {
		return ctx
	}
	return r.Context()
}
