package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strconv"
	"strings"
	"syscall"

	"github.com/vmnet-cni/vmnet/pkg/ipam"
	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// A handler answers a request. An error that it returns becomes the answer; it
// has written nothing then.
type handler func(w http.ResponseWriter, r *http.Request, who caller) error

// A route is one method of one path of the API.
type route struct {
	method, path string
	handle       handler
}

// routes is the whole API, as pkg/shim/openapi.yaml documents it.
func (s *Server) routes() []route {
	const (
		v1         = "/" + shim.APIVersion
		network    = v1 + "/networks/{network}"
		attachment = network + "/attachments/{containerID}/{ifname}"
	)
	return []route{
		{"GET", v1 + "/status", s.getStatus},
		{"GET", v1 + "/networks", s.getNetworks},
		{"GET", network, s.getNetwork},
		{"GET", network + "/serialization", s.getSerialization},
		{"POST", network + "/gc", s.postGC},
		{"GET", v1 + "/attachments", s.getAttachments},
		{"GET", v1 + "/leases", s.getLeases},
		{"DELETE", network + "/leases/{containerID}/{ifname}", s.deleteLease},
		{"PUT", attachment, s.putAttachment},
		{"GET", attachment, s.getAttachment},
		{"DELETE", attachment, s.deleteAttachment},
		{"POST", attachment + "/frames", s.postFrames},
		{"GET", attachment + "/capture", s.getCapture},
		{"GET", v1 + "/events", s.getEvents},
		{"GET", "/metrics", s.getMetrics},
	}
}

// mux makes the routes into a handler that answers everything else with JSON as
// well.
func (s *Server) mux() http.Handler {
	mux := http.NewServeMux()
	methods := map[string][]string{}
	for _, r := range s.routes() {
		mux.Handle(r.method+" "+r.path, s.serve(r.handle))
		methods[r.path] = append(methods[r.path], r.method)
	}
	for p, m := range methods {
		mux.Handle(p, s.serve(func(w http.ResponseWriter, r *http.Request, _ caller) error {
			w.Header().Set("Allow", strings.Join(m, ", "))
			return &statusError{http.StatusMethodNotAllowed, shim.Errorf(shim.CodeUnsupported, "method %s %s: want one of %q", r.Method, r.URL.Path, m)}
		}))
	}
	unknown := s.serve(func(_ http.ResponseWriter, r *http.Request, _ caller) error {
		return shim.Errorf(shim.CodeNotFound, "path %s: no such path in this API", r.URL.Path)
	})
	mux.Handle("/", unknown)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// ServeMux would redirect these; no client that means well sends them.
		if p := r.URL.EscapedPath(); path.Clean(p) != p {
			unknown.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// serve adds to a handler what all of them need.
func (s *Server) serve(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.begin() {
			// The shim is leaving. A client whose connection ends without an
			// answer starts another shim and asks that.
			panic(http.ErrAbortHandler)
		}
		defer s.end()
		ctx, cancel := context.WithTimeout(r.Context(), s.cfg.Limits.Operation)
		defer cancel()
		r = r.WithContext(context.WithValue(ctx, clientKey{}, r.Context()))
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		who, err := s.admit(ctx)
		if err == nil {
			err = h(w, r, who)
		}
		if err != nil {
			s.writeError(w, r, err)
		}
	})
}

// admit refuses callers that have no business here, in case the mode of the
// socket let them connect.
func (s *Server) admit(ctx context.Context) (caller, error) {
	who, ok := callerOf(ctx)
	switch {
	case !ok:
		return who, shim.Errorf(shim.CodeDenied, "peer credentials: the system does not tell who is calling")
	case who.uid != 0 && who.uid != s.uid && !s.cfg.OtherUsers:
		return who, shim.Errorf(shim.CodeDenied, "user %d: this shim serves user %d only", who.uid, s.uid)
	}
	return who, nil
}

// begin counts a request under way, and says whether the shim still takes any.
func (s *Server) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leaving {
		return false
	}
	s.active++
	return true
}

// busy reports whether requests are under way.
func (s *Server) busy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.active > 0
}

func (s *Server) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active--
	s.armLocked()
}

// A statusError is an Error with an HTTP status that its code does not imply.
type statusError struct {
	status int
	err    *shim.Error
}

// Error implements error.
func (e *statusError) Error() string { return e.err.Error() }

// Unwrap returns the Error.
func (e *statusError) Unwrap() error { return e.err }

var statusOf = map[shim.Code]int{
	shim.CodeInvalid:     http.StatusBadRequest,
	shim.CodeDenied:      http.StatusForbidden,
	shim.CodeNotFound:    http.StatusNotFound,
	shim.CodeConflict:    http.StatusConflict,
	shim.CodeTooLarge:    http.StatusRequestEntityTooLarge,
	shim.CodeUnsupported: http.StatusNotImplemented,
	shim.CodeExhausted:   http.StatusInsufficientStorage,
	shim.CodeUnavailable: http.StatusServiceUnavailable,
	shim.CodeInternal:    http.StatusInternalServerError,
}

// writeError answers with err and notes faults of the shim in the log.
func (s *Server) writeError(w http.ResponseWriter, r *http.Request, err error) {
	e := toError(err)
	status := statusOf[e.Code]
	var se *statusError
	if errors.As(err, &se) {
		status = se.status
	}
	log := s.cfg.Log.WithField("request", r.Method+" "+r.URL.Path).WithField("code", string(e.Code))
	if e.Code == shim.CodeInternal {
		log.Error(e.Message)
	} else {
		log.Debug(e.Message)
	}
	_ = writeJSONBody(w, status, e) // the client is gone; nobody is left to be told
}

// toError gives every error a code, and a message of one line: joined errors
// have one for each.
func toError(err error) *shim.Error {
	text := strings.ReplaceAll(err.Error(), "\n", "; ")
	var e *shim.Error
	if errors.As(err, &e) {
		c := *e
		c.Message = text // with what was joined or wrapped around it
		return &c
	}
	code := shim.CodeInternal
	switch {
	case errors.Is(err, ipam.ErrUnavailable):
		return &shim.Error{Code: shim.CodeUnavailable, Key: shim.KeyIPAM, Message: text}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), errors.Is(err, vmnet.ServiceBusy), errors.Is(err, syscall.EROFS):
		code = shim.CodeUnavailable
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ENOMEM):
		code = shim.CodeExhausted
	case errors.Is(err, vmnet.ErrLimit):
		code = shim.CodeExhausted
	case errors.Is(err, errors.ErrUnsupported):
		code = shim.CodeUnsupported
	case errors.Is(err, vmnet.ErrPermission):
		code = shim.CodeDenied
	case errors.Is(err, vmnet.InvalidArgument):
		code = shim.CodeInvalid
	}
	return &shim.Error{Code: code, Message: text}
}

// leaseError gives the errors of the allocator their codes and keys.
func leaseError(err error) *shim.Error {
	e := &shim.Error{Code: shim.CodeInternal, Message: err.Error()}
	var taken *ipam.TakenError
	var outside *ipam.OutsideError
	switch {
	case errors.As(err, &taken):
		e.Code, e.Key, e.Value = shim.CodeConflict, "ips", taken.Addr.String()
		e.Message = fmt.Sprintf("ips %q: another attachment of the network has it", e.Value)
	case errors.As(err, &outside):
		e.Code, e.Key, e.Value = shim.CodeInvalid, "ips", outside.Addr.String()
		e.Message = fmt.Sprintf("ips %q: %v", e.Value, outside)
	case errors.Is(err, ipam.ErrExhausted):
		e.Code, e.Key = shim.CodeExhausted, "network.subnet"
	case errors.Is(err, ipam.ErrConflict):
		e.Code, e.Key = shim.CodeConflict, "ips"
	case errors.Is(err, ipam.ErrUnavailable):
		e.Code, e.Key = shim.CodeUnavailable, shim.KeyIPAM
	case errors.Is(err, ipam.ErrInvalid):
		e.Code, e.Key = shim.CodeInvalid, "network.subnet"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		e.Code = shim.CodeUnavailable
	}
	return e
}

// writeJSONBody answers with v.
func writeJSONBody(w http.ResponseWriter, status int, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(data)+1)) // so that it can be flushed in one piece
	w.WriteHeader(status)
	_, err = w.Write(append(data, '\n'))
	return err
}

// readBody reads and decodes the request's body.
func readBody(r *http.Request, v any) error {
	data, err := io.ReadAll(r.Body)
	var tooBig *http.MaxBytesError
	switch {
	case errors.As(err, &tooBig):
		return shim.Errorf(shim.CodeTooLarge, "body: more than %d bytes", tooBig.Limit)
	case err != nil:
		return shim.Errorf(shim.CodeInvalid, "body: %v", err)
	}
	return decode(data, v)
}

// keyOf returns the attachment that the path names.
func keyOf(r *http.Request) (ipam.Key, error) {
	k := ipam.Key{Network: r.PathValue("network"), ContainerID: r.PathValue("containerID"), IfName: r.PathValue("ifname")}
	return k, checkKey(k)
}
