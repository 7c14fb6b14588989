package etcdstore

import (
	"context"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
)

// redialWait is how long the error of an attempt to connect stands for the next
// ones, so that callers who waited for one do not make one each.
const redialWait = 100 * time.Millisecond

// clientRetries is how often the client asks one member: a token that has expired
// takes one more time. Who is asked next is the route's business.
const clientRetries = 3

// connect makes s.client, unless it is there. Without a password that asks
// nobody. With one, a member must answer, which it may not do for a while after
// Open; so everything that uses the client begins here. It asks one member after the
// other, until etcd refuses, or ctx or Config.Timeout is over.
func (s *Store) connect(ctx context.Context) error {
	err := s.dial(ctx)
	if err == nil || answered(err) {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	for sleep(ctx, lastWait) {
		if err = s.dial(ctx); err == nil || answered(err) {
			break
		}
	}
	return err
}

// dial is connect with one member.
func (s *Store) dial(ctx context.Context) error {
	select {
	case s.dialing <- struct{}{}:
		defer func() { <-s.dialing }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if s.client != nil {
		return nil
	}
	if s.dialErr != nil && time.Since(s.dialed) < redialWait {
		return s.dialErr
	}
	at, endpoint := s.route.current()
	s.client, s.dialErr = clientv3.New(clientv3.Config{
		Endpoints: []string{endpoint}, MaxUnaryRetries: clientRetries, TLS: s.cfg.TLS, Username: s.cfg.Username, Password: s.cfg.Password,
		DialTimeout: s.cfg.Timeout / parts, DialKeepAliveTime: dialKeepAlive, DialKeepAliveTimeout: dialKeepAliveWait,
		MaxCallRecvMsgSize: maxAnswer, DialOptions: []grpc.DialOption{grpc.WithConnectParams(s.redial())}, Context: s.ctx, Logger: zap.NewNop(),
	})
	s.dialed = time.Now()
	if s.dialErr != nil {
		s.route.leave(at) // the password may be known there
		return s.dialErr
	}
	s.route.use(s.client)
	return nil
}

// redial is how a connection is made again. gRPC's own waits grow to two minutes,
// and guests wait for the cluster that is back.
func (s *Store) redial() grpc.ConnectParams {
	return grpc.ConnectParams{
		Backoff:           backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: s.cfg.Timeout},
		MinConnectTimeout: s.cfg.Timeout,
	}
}

// request returns the context of some requests.
func (s *Store) request() (context.Context, context.CancelFunc) {
	return context.WithTimeout(s.ctx, s.cfg.Timeout)
}

// sleep waits, and reports whether ctx lasted.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
