package etcdstore

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/vmnet-cni/vmnet/pkg/ipam"
)

// ErrReplaced says that another process has taken the machine's place in the
// fleet, so that this one must not write any more.
var ErrReplaced = errors.New("another process is this machine")

// unavailable returns an error of etcd as one that callers know. What etcd
// refuses, as a wrong password or a full disk, may be well again when it is
// tried again, so that the store is not available for that either.
func (s *Store) unavailable(op string, err error) error {
	if errors.Is(err, context.DeadlineExceeded) { // says neither who nor how long
		err = fmt.Errorf("%w: no answer from %s within %s", err, strings.Join(s.cfg.Endpoints, ", "), s.cfg.Timeout)
	}
	return fmt.Errorf("etcd: %s: %w: %w", op, ipam.ErrUnavailable, err)
}

// storeError returns what a transaction that writes ends in.
func (s *Store) storeError(err error) error {
	switch {
	case errors.Is(err, ErrTooLarge), errors.Is(err, ErrReplaced), errors.Is(err, errAlive):
		return fmt.Errorf("etcd: write: %w", err)
	case s.isClosed():
		return ipam.ErrClosed
	}
	return s.unavailable("write", err)
}

// readError returns what a transaction that reads ends in.
func (s *Store) readError(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case s.isClosed():
		return ipam.ErrClosed
	}
	return s.unavailable("read", err)
}

// codeOf returns the gRPC code of an error of the client, which has it in one of
// two shapes.
func codeOf(err error) codes.Code {
	var e rpctypes.EtcdError
	switch {
	case errors.As(err, &e):
		return e.Code()
	case errors.Is(err, context.DeadlineExceeded):
		return codes.DeadlineExceeded
	case errors.Is(err, context.Canceled):
		return codes.Canceled
	}
	return status.Code(err)
}

// compacted reports whether a revision was read that etcd does not have any more.
func compacted(err error) bool { return codeOf(err) == codes.OutOfRange }

// answered reports whether the error is etcd's answer, after which nothing was
// written nor will be.
func answered(err error) bool {
	if errors.Is(err, errHistory) {
		return true
	}
	switch codeOf(err) {
	case codes.InvalidArgument, codes.NotFound, codes.PermissionDenied, codes.Unauthenticated,
		codes.FailedPrecondition, codes.ResourceExhausted, codes.OutOfRange, codes.Unimplemented:
		return true
	}
	return false
}
