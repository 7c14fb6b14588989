package etcdstore

import (
	"context"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// redialWait is how long the error of an attempt to connect stands for the next
// ones, so that callers who waited for one do not make one each.
const redialWait = time.Second

// connect makes s.client, unless it is there. Without a password that asks
// nobody. With one, etcd must answer, which it may not do for a while after Open;
// so everything that uses the client begins here.
func (s *Store) connect(ctx context.Context) error {
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
	s.client, s.dialErr = clientv3.New(clientv3.Config{
		Endpoints: s.cfg.Endpoints, TLS: s.cfg.TLS, Username: s.cfg.Username, Password: s.cfg.Password,
		DialTimeout: s.cfg.Timeout, DialKeepAliveTime: dialKeepAlive, DialKeepAliveTimeout: dialKeepAliveWait,
		PermitWithoutStream: true, MaxCallRecvMsgSize: maxAnswer, Context: s.ctx, Logger: zap.NewNop(),
	})
	s.dialed = time.Now()
	return s.dialErr
}

// request returns the context of one request.
func (s *Store) request() (context.Context, context.CancelFunc) {
	return context.WithTimeout(s.ctx, s.cfg.Timeout)
}

// A request that may be sent again gets a part of the time there is: a member
// that lost its leader keeps it waiting (7 s in etcd 3.4, server.go,
// ReqTimeout), while another may have a new one.
const parts = 3

// persist calls do until it succeeds, etcd answers with an error, or ctx ends.
// wait is how long all may take.
func persist(ctx context.Context, wait time.Duration, do func(context.Context) error) error {
	for pause := 4 * firstWait; ; pause = min(2*pause, lastWait) {
		try, cancel := context.WithTimeout(ctx, wait/parts)
		err := do(try)
		cancel()
		if err == nil || answered(err) || ctx.Err() != nil || !sleep(ctx, pause) {
			return err
		}
	}
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
