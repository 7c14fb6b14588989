package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"

	"github.com/vmnet-cni/vmnet/pkg/ipam"
	"github.com/vmnet-cni/vmnet/pkg/relay"
	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// shutdownTime bounds the wait for requests under way when Serve ends.
const shutdownTime = 10 * time.Second

// A Server is a shim. Make it with New, run it with Serve, once.
type Server struct {
	cfg      Config
	uid      uint32 // the shim's own
	started  time.Time
	state    state
	late     lateSync
	keys     keyLocks
	choosing ctxLock       // one choice of a subnet at a time
	unlock   func()        // gives the state directory back
	threads  relay.Threads // of relays whose guests are busy
	bootpd   bootpdCache

	events  eventHub
	streams chan struct{}   // has a token for every stream
	live    context.Context // ends when the shim leaves, and streams with it
	endLive context.CancelFunc

	inherited map[string]fileSet // by prefix; each guarded by its attachment's key lock

	arrears     arrears
	keepStrays  bool            // a lease without attachment may be of one whose record is damaged; set by restore only
	unconfirmed atomic.Bool     // the lease store was away at the start, and has not been asked since
	swept       map[string]bool // drivers; used by New, then by retryBroken only
	fewer       chan struct{}   // gets a token when a broken attachment is deleted

	mu       sync.Mutex // guards the rest; see the package comment
	nets     map[string]*network
	atts     map[ipam.Key]*attachment
	choices  map[string]networkRecord // by network; Version 0: not written yet
	guests   map[guestID]int          // interfaces of each, for drivers that limit them
	problems []string
	returns  []comeback     // of the start
	making   int            // attachments being made
	makingBy map[uint32]int // the same, of each user
	active   int            // requests under way
	leaving  bool
	handing  bool          // another shim takes over
	idle     *time.Timer   // runs while there is nothing to do; nil without IdleExit
	idled    chan struct{} // gets a token when idle has run out
}

// maxThreads is how many busy guests are waited for in threads of their own; more
// would not find processors.
const maxThreads = 64

// New returns a server that has brought back what the state directory holds. It
// locks that directory against other shims; ctx bounds the wait for the lock and
// the bringing back. The caller calls Serve or Close.
func New(ctx context.Context, cfg Config) (*Server, error) {
	kept := sorted(cfg.Kept)
	if err := cfg.check(); err != nil {
		closeSets(kept)
		return nil, err
	}
	cfg.Limits = cfg.Limits.withDefaults()
	s := &Server{
		cfg: cfg, uid: uint32(os.Geteuid()), started: time.Now(), state: state{cfg.Dirs.State}, choosing: newCtxLock(),
		nets: map[string]*network{}, atts: map[ipam.Key]*attachment{}, choices: map[string]networkRecord{},
		guests: map[guestID]int{}, makingBy: map[uint32]int{}, idled: make(chan struct{}, 1), threads: relay.Threads{Max: maxThreads},
		streams: make(chan struct{}, maxStreams), inherited: kept, arrears: arrears{due: make(chan struct{}, 1)},
		swept: map[string]bool{}, fewer: make(chan struct{}, 1),
	}
	s.live, s.endLive = context.WithCancel(context.WithoutCancel(ctx))
	unlock, err := shim.LockFile(ctx, filepath.Join(cfg.Dirs.State, "lock"))
	if err != nil {
		closeSets(kept)
		return nil, fmt.Errorf("state directory: %w", err)
	}
	s.unlock = unlock
	s.problem(cfg.Problems...)
	s.takeAll()
	if err := s.restore(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("state directory %s: %w", cfg.Dirs.State, err), s.Close())
	}
	s.sweep(ctx)
	return s, nil
}

// Serve answers requests on l, which it owns, until ctx is done or the shim was
// idle for Config.IdleExit; then it removes the socket file, lets requests under
// way end, and closes everything. Attachments and leases stay in the state
// directory. It returns nil in both cases. When the cause of ctx's end is
// ErrRestart, it leaves sockets and their files to the next shim.
func (s *Server) Serve(ctx context.Context, l *net.UnixListener) (err error) {
	defer func() { err = errors.Join(err, s.Close()) }()
	l.SetUnlinkOnClose(false) // leave removes it, and only if it is ours
	own, err := os.Lstat(shim.ListenPath(l))
	if err != nil {
		return errors.Join(err, l.Close())
	}
	limited := limitListener(l, s.cfg.Limits.Connections, s.uid)
	hs := &http.Server{
		Handler: s.mux(), ConnContext: withCaller,
		ReadHeaderTimeout: readTimeout, ReadTimeout: readTimeout, IdleTimeout: idleTimeout,
		WriteTimeout: s.cfg.Limits.Operation + shutdownTime, MaxHeaderBytes: maxHeader,
		ErrorLog: log.New(logWriter{s.cfg.Log}, "", 0),
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { s.retryBroken(s.live) })
	wg.Go(func() { s.settleArrears(s.live) })
	defer s.startSweep()()
	s.startIdle()
	defer s.stopIdle()
	failed := make(chan error, 1)
	go func() { failed <- hs.Serve(limited) }()
	err = s.wait(ctx, l, own, failed)
	s.endLive()
	sctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
	defer cancel()
	if serr := hs.Shutdown(sctx); serr != nil {
		return errors.Join(err, fmt.Errorf("requests under way: %w", serr), hs.Close())
	}
	s.awaitHandOvers(sctx)
	wg.Wait()
	return errors.Join(err, s.leaveSettled())
}

// awaitHandOvers waits for the requests that net/http does not know any more, since
// they took their connection from it.
func (s *Server) awaitHandOvers(ctx context.Context) {
	for s.busy() && ctx.Err() == nil {
		time.Sleep(time.Millisecond) // as Shutdown does
	}
}

// wait returns when Serve shall end, with the socket file removed.
func (s *Server) wait(ctx context.Context, l *net.UnixListener, own fs.FileInfo, failed <-chan error) error {
	for {
		select {
		case err := <-failed:
			return fmt.Errorf("serve: %w", err)
		case <-ctx.Done():
			if errors.Is(context.Cause(ctx), ErrRestart) {
				s.cfg.Log.Info("asked to be started again")
				s.setHanding()
				return nil
			}
			s.cfg.Log.Info("asked to end")
			_, err := s.leaveSocket(l, own, func() bool { s.setLeaving(); return true })
			return err
		case <-s.idled:
			if !s.isIdle() {
				continue
			}
			gone, err := s.leaveSocket(l, own, s.leaveIfIdle)
			if gone || err != nil {
				s.cfg.Log.WithField("after", s.cfg.IdleExit.String()).Info("idle, leaving")
				return err
			}
		}
	}
}

func (s *Server) leaveSocket(l *net.UnixListener, own fs.FileInfo, may func() bool) (bool, error) {
	if s.cfg.KeepSocket {
		return may(), nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTime)
	defer cancel()
	return shim.Unlisten(ctx, l, own, may)
}

// Close ends what New brought up, keeping its durable part. Serve calls it; a
// caller needs it only in the place of Serve. It is idempotent.
func (s *Server) Close() error {
	s.endLive()
	s.mu.Lock()
	s.leaving = true
	atts := s.atts
	s.atts = map[ipam.Key]*attachment{}
	unlock := s.unlock
	s.unlock = nil
	s.mu.Unlock()
	defer closeSets(s.inherited)
	err := errors.Join(s.letAllGo(atts), s.late.flush())
	if unlock != nil {
		unlock()
	}
	return err
}

// letAllGo lets go of attachments, several at the same time: a guest that reads nothing
// takes longer, and others wait for the shim that goes on.
func (s *Server) letAllGo(atts map[ipam.Key]*attachment) error {
	errs := make(chan error, len(atts))
	var g errgroup.Group
	g.SetLimit(restoreAtOnce)
	for _, a := range atts {
		g.Go(func() error {
			// No request is under way any more, so nobody holds the key.
			errs <- s.letGo(context.Background(), a)
			return nil
		})
	}
	_ = g.Wait()
	close(errs)
	var all []error
	for err := range errs {
		all = append(all, err)
	}
	return errors.Join(all...)
}

func (s *Server) logOf(k ipam.Key) *logrus.Entry {
	return s.cfg.Log.WithFields(logrus.Fields{"network": k.Network, "containerID": k.ContainerID, "ifname": k.IfName})
}

// logWriter takes the lines of net/http, which are about clients that do not
// speak HTTP.
type logWriter struct{ log logrus.FieldLogger }

func (w logWriter) Write(line []byte) (int, error) {
	w.log.Debug(string(line))
	return len(line), nil
}
