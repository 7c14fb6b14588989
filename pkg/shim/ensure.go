package shim

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// BinaryName is the name of the shim's program.
const BinaryName = "vmnet-shim"

// IdleExit is how long a shim that Ensure started stays without attachments.
const IdleExit = time.Minute

// An EnsureConfig says which shim to reach, and how to start it. The zero value
// is the shim of this user, which must be running.
type EnsureConfig struct {
	// Address is the path of the shim's socket, with or without "unix://".
	// Empty: Dirs.ShimSocket().
	Address string
	// Binary is the path of the shim's program. Empty: BinaryName beside the
	// running executable, in the directories of $CNI_PATH, or in $PATH, the first
	// that is there.
	Binary string
	// Spawn lets Ensure start the shim when nobody listens.
	Spawn bool
	// Timeout bounds Ensure and every call of the Client. Zero: DefaultTimeout.
	Timeout time.Duration
	// Dirs are the directories of a shim to start. Zero: FindDirs.
	Dirs Dirs
}

// Ensure returns a client for the shim that cfg names. When nobody listens and
// cfg.Spawn is true it starts one, once, however many processes call Ensure at
// the same time: the one that holds the lock binds the socket and hands the
// listener to the shim as fd 3, and the others' requests wait in its backlog.
//
// The shim has a session of its own, / as working directory, and its output goes
// to Dirs.LogFile; it shares no pipe with the caller. It stays when the caller
// ends. While the caller lives, one goroutine waits for the shim's end, so that
// it does not stay a zombie.
//
// The caller closes the client, which has a connection to the shim from the start.
//
// Errors are *Error with CodeUnavailable, and wrap ErrNotRunning when nobody
// listens and cfg.Spawn is false.
func Ensure(ctx context.Context, cfg EnsureConfig) (*Client, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, &Error{Code: CodeInvalid, Message: "reach shim: " + err.Error(), cause: err}
	}
	c := newClient(cfg.Address, cfg.Timeout)
	if cfg.Spawn {
		c.revive = func(ctx context.Context) error { return cfg.revive(ctx, c) }
	}
	ctx, cancel := c.bound(ctx)
	defer cancel()
	conn, err := dial(ctx, cfg.Address)
	switch {
	case err == nil:
		c.first.Store(conn)
		return c, nil
	case !notListening(err):
		return nil, c.wrap("reach shim", err)
	case !cfg.Spawn:
		return nil, &Error{Code: CodeUnavailable, cause: ErrNotRunning,
			Message: fmt.Sprintf("shim %s: nobody listens, and shim.spawn is false: start it with \"%s serve\"", cfg.Address, BinaryName)}
	}
	if err := cfg.revive(ctx, c); err != nil {
		return nil, c.wrap("start shim", err)
	}
	return c, nil
}

func (cfg EnsureConfig) withDefaults() (EnsureConfig, error) {
	if cfg.Timeout <= 0 {
		cfg.Timeout = DefaultTimeout
	}
	if cfg.Dirs == (Dirs{}) && (cfg.Spawn || cfg.Address == "") {
		d, err := FindDirs()
		if err != nil {
			return cfg, err
		}
		cfg.Dirs = d
	}
	cfg.Address = socketPath(cfg.Address)
	if cfg.Address == "" {
		cfg.Address = cfg.Dirs.ShimSocket()
	}
	if !filepath.IsAbs(cfg.Address) {
		return cfg, Invalidf("shim.address", cfg.Address, "want an absolute path")
	}
	return cfg, nil
}

// revive starts a shim unless somebody did so first. One that leaves as it should
// before it was asked anything, since this process had to wait for longer than
// IdleExit, as on a machine that slept, is started again.
func (cfg EnsureConfig) revive(ctx context.Context, c *Client) error {
	if err := cfg.Dirs.Prepare(); err != nil {
		return err
	}
	binary, err := findBinary(cfg.Binary, os.Getenv)
	if err != nil {
		return err
	}
	for try := 1; ; try++ {
		child, err := cfg.start(ctx, binary)
		if child == nil || err != nil {
			return err
		}
		if err = child.ready(ctx, c); try == attempts || !errors.Is(err, errLeft) {
			return err
		}
	}
}

// start starts a shim. It returns nil when one listens already.
func (cfg EnsureConfig) start(ctx context.Context, binary string) (*child, error) {
	l, err := Listen(ctx, cfg.Address)
	if errors.Is(err, ErrRunning) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	child, err := startChild(binary, cfg.Dirs, l)
	// From here on the child's copy keeps the socket alive, or nothing does.
	return child, errors.Join(err, l.Close())
}

// ready waits for the first answer of a shim that was just started.
func (p *child) ready(ctx context.Context, c *Client) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var err error
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		first := &Client{addr: c.addr, timeout: c.timeout, http: c.http} // without revive
		_, err = first.Status(ctx)
	}()
	select {
	case <-p.done:
		cancel()
		<-answered
		return p.failure()
	case <-answered:
	}
	if err == nil || ctx.Err() != nil {
		return err
	}
	// The connection broke: the shim is ending, and its status says more.
	select {
	case <-p.done:
		return p.failure()
	case <-ctx.Done():
		return err
	}
}

// ErrRunning says that a shim listens already.
var ErrRunning = errors.New("a shim is running already")

// Listen binds the shim's socket at path, in a directory that Prepare made. A
// socket file on which nobody listens is replaced; if somebody does, the error
// is ErrRunning. The lock beside the socket makes one of many callers the one
// that binds. The socket has mode 0600 before anybody can connect. Closing the
// listener leaves the file; see Unlisten.
func Listen(ctx context.Context, path string) (*net.UnixListener, error) {
	if len(path)+len(newSuffix) > MaxSocketPath {
		return nil, Invalidf("shim.address", path, "%d bytes, want at most %d", len(path), MaxSocketPath-len(newSuffix))
	}
	unlock, err := lockBeside(ctx, path)
	if err != nil {
		return nil, err
	}
	defer unlock()
	conn, err := dial(ctx, path)
	if err == nil {
		return nil, errors.Join(ErrRunning, conn.Close())
	}
	if !notListening(err) {
		return nil, err
	}
	if fi, err := os.Lstat(path); err == nil && fi.Mode().Type() != fs.ModeSocket {
		return nil, fmt.Errorf("listen %s: a file that is not a socket is in the way: %w", path, fs.ErrExist)
	}
	return bind(path)
}

// newSuffix is the end of the name that a socket has until its mode is set.
const newSuffix = "~"

// bind makes the socket under another name, sets its mode and renames it over
// what is there: no instant with another mode, none without a socket.
func bind(path string) (*net.UnixListener, error) {
	tmp := path + newSuffix
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: tmp, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(tmp, 0o600), os.Rename(tmp, path)); err != nil {
		return nil, errors.Join(err, l.Close(), os.Remove(tmp))
	}
	return l, nil
}

// Unlisten removes the socket file of l, which Listen made in this process or in
// the one that started it, unless another file has taken its place. may is asked
// first, holding the lock under which shims are started, and can still say no;
// nil says yes. So a shim can make up its mind to leave without a moment in
// which a caller finds neither it nor its successor. removed is false when may
// said no.
func Unlisten(ctx context.Context, l *net.UnixListener, own fs.FileInfo, may func() bool) (removed bool, err error) {
	path := ListenPath(l)
	unlock, err := lockBeside(ctx, path)
	if err != nil {
		return false, err
	}
	defer unlock()
	if may != nil && !may() {
		return false, nil
	}
	fi, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(fi, own) {
		return true, nil
	}
	if err != nil {
		return true, err
	}
	return true, os.Remove(path)
}

// ListenPath returns the path of the socket that l listens on, also when Listen
// bound it under its first name.
func ListenPath(l *net.UnixListener) string {
	return strings.TrimSuffix(l.Addr().String(), newSuffix)
}

func lockBeside(ctx context.Context, socket string) (unlock func(), err error) {
	return LockFile(ctx, filepath.Join(filepath.Dir(socket), "shim.lock"))
}
