package etcdstore

import (
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Defaults of Config.
const (
	DefaultTimeout = 5 * time.Second
	DefaultTTL     = time.Minute
	DefaultGrace   = 10 * time.Minute
)

// A connection that is silent while an answer or a watch is awaited is asked for a
// sign of life: a partition is not told. An idle one is not: etcd takes that for an
// attack and closes it (api/v3rpc/grpc.go, PermitWithoutStream), and the next
// request finds out about a dead member soon enough; see route.
const (
	dialKeepAlive     = 10 * time.Second // gRPC's least; etcd's own is 5 s (--grpc-keepalive-min-time)
	dialKeepAliveWait = 3 * time.Second
)

// maxAnswer bounds an answer of etcd, in bytes: a page of a scan is well below.
const maxAnswer = 64 << 20

// Config is how a store is opened. Only Endpoints are required.
type Config struct {
	// Endpoints are the URLs of the cluster's members, as "https://etcd1:2379",
	// "http://…" or "unix:///run/etcd.sock".
	Endpoints []string
	// TLS is how members are verified, and this machine is to them. Nil: no TLS.
	// See LoadTLS.
	TLS *tls.Config
	// Username and Password are for a cluster with authentication.
	Username, Password string
	// Prefix begins every key, and ends in "/". Fleets with different prefixes
	// know nothing of each other. Empty: DefaultPrefix.
	Prefix string
	// Timeout bounds every transaction and every other wait for etcd. Zero:
	// DefaultTimeout.
	Timeout time.Duration

	// Machine is this machine's name in the fleet, which no other has; the same
	// that ipam.Config.Machine has. A process that opens the store as a machine
	// takes the place of the one before it, whose transactions then end in
	// ErrReplaced. Empty: no machine; the store then keeps none alive, and what
	// it writes is not bound to one. No NUL, no "/".
	Machine string
	// TTL is how long after its last sign of life a machine counts as alive.
	// Zero: DefaultTTL. At least a second.
	TTL time.Duration
	// Grace is how much longer a machine keeps its leases. After that, one of
	// the other machines frees them. A machine that was cut off for longer than
	// TTL and Grace may find its addresses given to others. Zero: DefaultGrace.
	Grace time.Duration
	// OnEvent is told what becomes of the machine's membership, from several
	// goroutines. It must not block or call the Store. Nil: nobody.
	OnEvent func(Event)
}

func (c Config) check() error {
	if len(c.Endpoints) == 0 {
		return errors.New("etcd: endpoints: want one at least, have none")
	}
	for _, e := range c.Endpoints {
		if err := checkEndpoint(e, c.TLS != nil); err != nil {
			return err
		}
	}
	switch {
	case c.Prefix != "" && !strings.HasSuffix(c.Prefix, "/"):
		return fmt.Errorf("etcd: prefix %q: want one that ends in /", c.Prefix)
	case strings.ContainsAny(c.Machine, "/\x00"):
		return fmt.Errorf("etcd: machine %q: want no / and no NUL", c.Machine)
	case c.TTL != 0 && c.TTL < time.Second:
		return fmt.Errorf("etcd: TTL %s: want a second or more", c.TTL)
	case c.Timeout < 0 || c.Grace < 0:
		return fmt.Errorf("etcd: timeout %s, grace %s: want none below zero", c.Timeout, c.Grace)
	case c.Password != "" && c.Username == "":
		return errors.New("etcd: a password, and no user name")
	}
	return nil
}

// checkEndpoint refuses what the client would take for a name of a resolver, or
// dial in the clear although TLS is meant.
func checkEndpoint(e string, secure bool) error {
	scheme, rest, ok := strings.Cut(e, "://")
	want := `want http://HOST:PORT, https://HOST:PORT or unix:///PATH`
	switch {
	case !ok || rest == "":
		return fmt.Errorf("etcd: endpoint %q: %s", e, want)
	case scheme == "https" || scheme == "unixs":
		if !secure {
			return fmt.Errorf("etcd: endpoint %q: TLS, and no certificates are configured", e)
		}
	case scheme == "http" || scheme == "unix":
		if secure {
			return fmt.Errorf("etcd: endpoint %q: no TLS, and certificates are configured", e)
		}
	default:
		return fmt.Errorf("etcd: endpoint %q: %s", e, want)
	}
	return nil
}

func (c Config) withDefaults() Config {
	set := func(d *time.Duration, def time.Duration) {
		if *d == 0 {
			*d = def
		}
	}
	set(&c.Timeout, DefaultTimeout)
	set(&c.TTL, DefaultTTL)
	set(&c.Grace, DefaultGrace)
	if c.Prefix == "" {
		c.Prefix = DefaultPrefix
	}
	return c
}
