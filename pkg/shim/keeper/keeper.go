package keeper

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// Names of descriptors that are not the store's.
const (
	// ListenName is that of the listener of the API.
	ListenName = "api"
	// LifeName is that of the shim's end of the pair that tells of a death.
	LifeName = "keeper"
)

// RestartStatus is the exit status of a shim that wants to be started again, by
// systemd too: RestartForceExitStatus=75 (EX_TEMPFAIL of sysexits.h).
const RestartStatus = 75

// DefaultMaxFiles is how many descriptors a keeper holds at most.
const DefaultMaxFiles = 4096

// A Config says what a keeper starts.
type Config struct {
	// Program is the path of the shim's program, looked up anew for every start;
	// Args are its arguments, the program's name not counted. Required.
	Program string
	Args    []string
	// Listener is the listening socket of the API. Required; the caller's.
	Listener *os.File
	// Dir is the directory for the notify socket and the report; only this user
	// may write there. Required.
	Dir string
	// Adopt is the keeper's end of the pair of sockets of a shim that runs
	// already; the keeper owns it. Nil: it starts one.
	Adopt *os.File
	// Prepare runs before every start, on a thread of its own from which the shim is
	// started then and which ends: what the thread gives up (capabilities, as of
	// Linux) the shim does not have. It returns variables for the shim's environment.
	// Nil: nothing.
	Prepare func() (env []string, err error)
	// MaxFiles bounds the store, as does the limit of open descriptors. Zero:
	// DefaultMaxFiles.
	MaxFiles int
	// Logf gets a line for every start, death and refusal. Nil: nothing.
	Logf func(format string, args ...any)
}

// A keeper at work.
type keeper struct {
	cfg   Config
	ear   *ear // of the shim that runs
	pace  pace
	asked bool // to end

	mu    sync.Mutex // guards the rest, which the ear changes
	store store
	now   life
}

// A life is what the keeper knows of the shim that runs.
type life struct {
	ready    time.Time // zero: not yet
	stopping bool
	pid      int
}

// Run starts the shim and keeps it, until a shim ends as it was asked to, or one
// could not start at all (an *EndError with its status). SIGTERM, SIGINT and
// SIGHUP go to the shim; after the first two Run returns with its end.
func Run(ctx context.Context, cfg Config) error {
	if cfg.MaxFiles <= 0 {
		cfg.MaxFiles = DefaultMaxFiles
	}
	if cfg.Logf == nil {
		cfg.Logf = func(string, ...any) {}
	}
	if cfg.Program == "" || cfg.Listener == nil || cfg.Dir == "" {
		return errors.New("keeper: program, listener and directory must be given")
	}
	limit, err := raiseFiles()
	if err != nil {
		return fmt.Errorf("keeper: limit of descriptors: %w", err)
	}
	k := &keeper{cfg: cfg, store: store{max: max(1, min(cfg.MaxFiles, limit-ownFiles))}}
	clearEars(cfg.Dir)
	defer k.store.close()
	defer k.removeReport()
	defer func() { k.ear.close() }()
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(signals)
	return k.run(ctx, signals)
}

// An EndError tells how a shim ended that never worked.
type EndError struct {
	Status int // its exit status; 128 and the signal, if it was killed
	how    string
}

// Error implements error.
func (e *EndError) Error() string { return "the shim could not start: " + e.how }

// run is a life of a shim after the other.
func (k *keeper) run(ctx context.Context, signals <-chan os.Signal) error {
	everReady := k.cfg.Adopt != nil
	for {
		k.begin()
		c, err := k.start()
		if err != nil && !everReady {
			return err
		}
		var e end
		if err == nil {
			e = k.await(ctx, c, signals)
		} else {
			e = end{status: 1, how: err.Error()}
		}
		l := k.life()
		everReady = everReady || !l.ready.IsZero()
		switch {
		case k.asked, e.status == 0, l.stopping:
			k.cfg.Logf("the shim has ended")
			return nil
		case !everReady:
			return &EndError{e.status, e.how}
		case e.status == RestartStatus:
			k.cfg.Logf("the shim wants to be started again")
			continue
		}
		if !k.rest(ctx, e.how, l, signals) {
			return nil
		}
	}
}

// rest notes a death and waits before the next start. false: the keeper was asked
// to end.
func (k *keeper) rest(ctx context.Context, how string, l life, signals <-chan os.Signal) bool {
	now := time.Now()
	var worked time.Duration
	if !l.ready.IsZero() {
		worked = now.Sub(l.ready)
	}
	pause := k.pace.died(now, worked)
	k.report(how, now)
	k.cfg.Logf("the shim has died (%s), starting it again in %s", how, pause)
	t := time.NewTimer(pause)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			return true
		case <-ctx.Done():
			return false
		case s := <-signals:
			if s != syscall.SIGHUP {
				return false
			}
			return true // whoever changed the program does not want to wait
		}
	}
}

// await returns how the shim ended, and passes signals on until then.
func (k *keeper) await(ctx context.Context, c *child, signals <-chan os.Signal) end {
	done := ctx.Done()
	for {
		select {
		case e := <-c.ended:
			k.drain()
			return e
		case <-done:
			done, k.asked = nil, true
			k.signal(syscall.SIGTERM)
		case s := <-signals:
			k.asked = k.asked || s != syscall.SIGHUP
			k.signal(s.(syscall.Signal))
		}
	}
}

func (k *keeper) signal(s syscall.Signal) {
	pid := k.life().pid
	if pid == 0 {
		return // taken up, and it has not said who it is
	}
	if err := syscall.Kill(pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
		k.cfg.Logf("signal %s to the shim: %v", s, err)
	}
}

func (k *keeper) begin() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.now = life{}
	if k.cfg.Adopt != nil {
		k.now.ready = time.Now()
	}
}

func (k *keeper) life() life {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.now
}

// ownFiles are kept free for the keeper itself, to start shims with.
const ownFiles = 64

// raiseFiles raises the limit of open descriptors as far as it may be, for this
// process and for the shims that it starts: Go would give those back the old one.
func raiseFiles() (limit int, err error) {
	var lim syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil {
		return 0, err
	}
	return int(min(lim.Cur, 1<<30)), syscall.Setrlimit(syscall.RLIMIT_NOFILE, &lim)
}
