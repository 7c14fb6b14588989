package server

import (
	"context"
	"io"
	"net/http"
	"strconv"

	"github.com/vmnet-cni/vmnet/pkg/capture"
	"github.com/vmnet-cni/vmnet/pkg/relay"
	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// getCapture streams an attachment's frames as pcapng.
func (s *Server) getCapture(w http.ResponseWriter, r *http.Request, who caller) error {
	k, err := keyOf(r)
	if err != nil {
		return err
	}
	cfg, count, err := captureConfig(r)
	if err != nil {
		return err
	}
	a := s.find(who, k)
	switch {
	case a == nil:
		return notFound(k)
	case a.relay == nil:
		return shim.Errorf(shim.CodeUnavailable, "attachment %s: %s", k, a.problem)
	}
	cfg.Name = k.String()
	c := capture.New(cfg)
	if !a.relay.AddTee(c) {
		return shim.Errorf(shim.CodeExhausted, "attachment %s: %d captures are under way: want no more", k, relay.MaxTees)
	}
	defer a.relay.RemoveTee(c)
	s.logOf(k).WithField("filter", cfg.Filter.String()).Info("capture begins")
	s.tell(k, a.rec.Owner, shim.EventCapture, "filter", cfg.Filter.String())
	defer func() {
		seen, lost := c.Counts()
		s.logOf(k).WithField("frames", seen).WithField("lost", lost).Info("capture ends")
	}()
	return s.stream(w, r, "application/x-pcapng", func(ctx context.Context, w io.Writer, flush func() error) error {
		stop := context.AfterFunc(ctx, func() { a.relay.RemoveTee(c) })
		defer stop()
		return c.Run(ctx, w, count, flush)
	})
}

// captureConfig reads the query of a capture.
func captureConfig(r *http.Request) (cfg capture.Config, count uint64, err error) {
	q := r.URL.Query()
	for key := range q {
		switch key {
		case "filter", "snaplen", "count":
		default:
			return cfg, 0, shim.Invalidf(key, q.Get(key), "want filter, snaplen or count")
		}
	}
	if cfg.Filter, err = capture.ParseFilter(q.Get("filter")); err != nil {
		return cfg, 0, shim.Invalidf("filter", q.Get("filter"), "%v", err)
	}
	number := func(key string, max uint64) uint64 {
		if !q.Has(key) || err != nil {
			return 0
		}
		n, perr := strconv.ParseUint(q.Get(key), 10, 63)
		if perr != nil || n < 1 || n > max {
			err = shim.Invalidf(key, q.Get(key), "want 1 to %d", max)
		}
		return n
	}
	cfg.SnapLen = int(number("snaplen", capture.DefaultSnapLen))
	count = number("count", 1<<62)
	return cfg, count, err
}
