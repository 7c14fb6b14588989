package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"os/user"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/internal/logfile"
	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/shim/keeper"
	"github.com/vmnet-cni/vmnet/pkg/shim/server"
)

// serveFlags are the flags of "serve".
type serveFlags struct {
	listenFD int
	group    string
	logLevel string
	maxLog   string
	idleExit time.Duration
	confine  bool
	drivers  []string // empty: all that there are
	profile  string
	limits   limitFlags
	store    storeFlags
}

func newServe() *cobra.Command { return new(serveFlags).command() }

// command is "serve" with f as its flags.
func (f *serveFlags) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the API until SIGTERM or SIGINT",
		Long: `Serve the API on shim.sock in the runtime directory until SIGTERM or SIGINT.
Attachments and addresses stay in the state directory; the next shim brings them
back. Under "vmnet-shim keep" or systemd guests stay connected when the shim dies,
and SIGHUP has another shim, from a new program if there is one, take over;
otherwise SIGHUP ends the shim too.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := newLog(cmd, f.logLevel)
			if err != nil {
				return err
			}
			if err := f.boundLog(log); err != nil {
				return err
			}
			return f.serve(cmd.Context(), log)
		},
	}
	fl := cmd.Flags()
	fl.IntVar(&f.listenFD, "listen-fd", -1, "number of an inherited listening socket, in the place of binding one")
	fl.StringVar(&f.group, "group", "", "root only: let the members of this group use the shim; they see what is theirs")
	fl.StringVar(&f.logLevel, "log-level", "info", "how much goes to stderr: error, warning, info or debug")
	fl.StringVar(&f.maxLog, "max-log", "8MiB", "where stderr is a file that is appended to: a longer one loses its older part; 0 for no limit")
	fl.DurationVar(&f.idleExit, "idle-exit", 0, "leave after so long without attachments and requests (default never)")
	fl.BoolVar(&f.confine, "confine", true, "Linux: give up rights that the shim does not need, as writing outside its directories")
	fl.StringVar(&f.profile, "cpuprofile", "", "write a CPU profile (pprof) of the whole run to this file")
	_ = fl.MarkHidden("cpuprofile") // it is there
	fl.StringSliceVar(&f.drivers, "drivers", nil, "drivers that there are: netstack, tap (Linux), vmnet (macOS); root's shim on Linux keeps the capabilities of these only: none for netstack (default all)")
	f.limits.register(fl)
	f.store.register(fl)
	return cmd
}

func newLog(cmd *cobra.Command, level string) (*logrus.Logger, error) {
	l, err := logrus.ParseLevel(level)
	if err != nil {
		return nil, fmt.Errorf("--log-level %q: want error, warning, info or debug", level)
	}
	log := logrus.New()
	log.SetOutput(cmd.ErrOrStderr())
	log.SetLevel(l)
	log.SetFormatter(&logrus.TextFormatter{FullTimestamp: true, DisableColors: true, TimestampFormat: "2006-01-02T15:04:05.000Z07:00"})
	return log, nil
}

// boundLog keeps the log from growing for ever where it is a file.
func (f *serveFlags) boundLog(log *logrus.Logger) error {
	max, err := parseSize(f.maxLog)
	if err != nil || max > 0 && max < 64<<10 {
		return fmt.Errorf("--max-log %q: want a size from 64KiB on, as 8MiB, or 0", f.maxLog)
	}
	if file, ok := log.Out.(*os.File); ok {
		log.SetOutput(logfile.Bound(file, max))
	}
	return nil
}

func (f *serveFlags) serve(ctx context.Context, log *logrus.Logger) (err error) {
	// First: it starts the program again, with descriptors and environment as they
	// are.
	if err := checkDrivers(f.drivers); err != nil {
		return err
	}
	if err := f.confineFirst(log); err != nil {
		return err
	}
	g, err := inheritKept(log)
	if err != nil {
		return err
	}
	defer g.close()
	raiseProcs()
	if err := f.limits.apply(); err != nil {
		return err
	}
	// Every socket and file is private until it is given to somebody.
	unix.Umask(0o077)
	if err := closeInherited(func(fd int) bool { return fd == f.listenFD || g.isKept(fd) }); err != nil {
		return fmt.Errorf("inherited descriptors: %w", err)
	}
	if f.profile != "" {
		done, err := startProfile(f.profile)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, done()) }()
	}
	ctx, stop := untilSignal(ctx, g.notifier != nil)
	defer stop()
	dirs, err := shim.FindDirs()
	if err == nil {
		err = dirs.Prepare()
	}
	if err != nil {
		return err
	}
	l, err := f.listen(ctx, dirs, g)
	if err != nil {
		return err
	}
	defer l.Close() // after Serve it is closed already
	drivers, problems := newDrivers(dirs, log, f.limits.guest, f.drivers)
	store, err := f.store.open(dirs, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.leases.Close()) }()
	cfg := server.Config{
		Dirs: dirs, Drivers: drivers, Leases: store.leases, SharedLeases: f.store.kind == "etcd", InUse: hostPrefixes, Log: log, Version: version,
		IdleExit: f.idleExit, OtherUsers: f.group != "", KeepSocket: g.managed(), Kept: g.kept, Limits: f.limits.Limits, Problems: append(problems, store.problems...),
		BootpdLeases: bootpdLeases(),
	}
	if g.notifier != nil {
		cfg.Files, cfg.Keeper = g.notifier, func() int { return int(g.keeper.Load()) }
	}
	s, err := server.New(ctx, cfg)
	if err != nil {
		return err
	}
	g.notify("READY=1", log)
	log.WithField("socket", shim.ListenPath(l)).WithField("pid", os.Getpid()).WithField("version", version).Info("serving")
	sctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { g.watch(sctx, dirs, l, log) })
	if store.back != nil {
		wg.Go(func() { store.reclaim(sctx, s.ReclaimLeases, log) })
	}
	err = s.Serve(ctx, l)
	cancel()
	wg.Wait() // no keeper is taken up from here on
	if errors.Is(context.Cause(ctx), server.ErrRestart) {
		return errors.Join(err, exitStatus(keeper.RestartStatus))
	}
	g.stopping(log)
	return err
}

// untilSignal returns a context that ends with SIGTERM, SIGINT or SIGHUP; with the
// last one another shim is to take over, where somebody will start it.
func untilSignal(ctx context.Context, kept bool) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case s := <-signals:
			if s == syscall.SIGHUP && kept {
				cancel(server.ErrRestart)
			}
			cancel(nil)
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		cancel(nil)
		<-done
	}
}

// listen returns the listener: the one that the keeper or whoever started this shim
// made, or one of our own.
func (f *serveFlags) listen(ctx context.Context, dirs shim.Dirs, g *legacy) (l *net.UnixListener, err error) {
	switch {
	case g.listener != nil:
		l, err = unixListener(g.listener)
	case f.listenFD >= 0:
		l, err = inherit(f.listenFD)
	default:
		l, err = shim.Listen(ctx, dirs.ShimSocket())
	}
	if errors.Is(err, shim.ErrRunning) {
		return nil, fmt.Errorf("%s: %w", dirs.ShimSocket(), err)
	}
	if err != nil || f.group == "" {
		return l, err
	}
	if err := giveToGroup(shim.ListenPath(l), f.group); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func inherit(fd int) (*net.UnixListener, error) {
	if fd < 3 {
		return nil, fmt.Errorf("--listen-fd %d: want 3 or more", fd)
	}
	l, err := unixListener(os.NewFile(uintptr(fd), "listen-fd"))
	if err != nil {
		return nil, fmt.Errorf("--listen-fd %d: %w", fd, err)
	}
	return l, nil
}

// unixListener returns the listener of file, which it closes.
func unixListener(file *os.File) (*net.UnixListener, error) {
	defer file.Close()
	l, err := net.FileListener(file)
	if err != nil {
		return nil, err
	}
	u, ok := l.(*net.UnixListener)
	if !ok {
		return nil, errors.Join(fmt.Errorf("is a socket of %s, want a unix socket", l.Addr().Network()), l.Close())
	}
	return u, nil
}

// giveToGroup lets a group connect. Only root's runtime directory lets others
// pass.
func giveToGroup(socket, group string) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("--group %s: only root's shim can have one", group)
	}
	g, err := user.LookupGroup(group)
	if err != nil {
		if g, err = user.LookupGroupId(group); err != nil {
			return fmt.Errorf("--group %s: no such group", group)
		}
	}
	gid, err := strconv.Atoi(g.Gid)
	if err != nil {
		return fmt.Errorf("--group %s: %w", group, err)
	}
	return errors.Join(os.Chown(socket, -1, gid), os.Chmod(socket, 0o660))
}
