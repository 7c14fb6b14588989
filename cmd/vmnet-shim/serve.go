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

	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/shim/server"
)

// serveFlags are the flags of "serve".
type serveFlags struct {
	listenFD int
	group    string
	logLevel string
	idleExit time.Duration
	confine  bool
	limits   limitFlags
	store    storeFlags
}

func newServe() *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the API until SIGTERM, SIGINT or SIGHUP",
		Long: `Serve the API on shim.sock in the runtime directory until SIGTERM, SIGINT or
SIGHUP. Attachments and addresses stay in the state directory; the next shim
brings them back.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := newLog(cmd, f.logLevel)
			if err != nil {
				return err
			}
			return f.serve(cmd.Context(), log)
		},
	}
	fl := cmd.Flags()
	fl.IntVar(&f.listenFD, "listen-fd", -1, "number of an inherited listening socket, in the place of binding one")
	fl.StringVar(&f.group, "group", "", "root only: let the members of this group use the shim; they see what is theirs")
	fl.StringVar(&f.logLevel, "log-level", "info", "how much goes to stderr: error, warn, info or debug")
	fl.DurationVar(&f.idleExit, "idle-exit", 0, "leave after so long without attachments and requests; 0: never")
	fl.BoolVar(&f.confine, "confine", true, "Linux: give up rights that the shim does not need, as writing outside its directories")
	f.limits.register(fl)
	f.store.register(fl)
	return cmd
}

func newLog(cmd *cobra.Command, level string) (*logrus.Logger, error) {
	l, err := logrus.ParseLevel(level)
	if err != nil {
		return nil, fmt.Errorf("--log-level %q: want error, warn, info or debug", level)
	}
	log := logrus.New()
	log.SetOutput(cmd.ErrOrStderr())
	log.SetLevel(l)
	log.SetFormatter(&logrus.TextFormatter{FullTimestamp: true, DisableColors: true, TimestampFormat: "2006-01-02T15:04:05.000Z07:00"})
	return log, nil
}

func (f *serveFlags) serve(ctx context.Context, log *logrus.Logger) (err error) {
	raiseProcs()
	if err := f.limits.apply(); err != nil {
		return err
	}
	// Every socket and file is private until it is given to somebody.
	unix.Umask(0o077)
	if err := f.confineFirst(log); err != nil {
		return err
	}
	if err := closeInherited(f.listenFD); err != nil {
		return fmt.Errorf("inherited descriptors: %w", err)
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer stop()
	dirs, err := shim.FindDirs()
	if err == nil {
		err = dirs.Prepare()
	}
	if err != nil {
		return err
	}
	l, kept, err := f.listen(ctx, dirs)
	if err != nil {
		return err
	}
	defer l.Close() // after Serve it is closed already
	drivers, problems := newDrivers(dirs, log, f.limits.guest)
	store, err := f.store.open(dirs, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.leases.Close()) }()
	s, err := server.New(ctx, server.Config{
		Dirs: dirs, Drivers: drivers, Leases: store.leases, SharedLeases: f.store.kind == "etcd", InUse: hostPrefixes, Log: log, Version: version,
		IdleExit: f.idleExit, OtherUsers: f.group != "", KeepSocket: kept, Limits: f.limits.Limits, Problems: append(problems, store.problems...),
		BootpdLeases: bootpdLeases(),
	})
	if err != nil {
		return err
	}
	log.WithField("socket", shim.ListenPath(l)).WithField("pid", os.Getpid()).WithField("version", version).Info("serving")
	if store.back != nil {
		ctx, stop := context.WithCancel(ctx)
		var wg sync.WaitGroup
		defer wg.Wait()
		defer stop()
		wg.Go(func() { store.reclaim(ctx, s.ReclaimLeases, log) })
	}
	return s.Serve(ctx, l)
}

// listen returns the listener: the inherited one or one of our own. kept says
// that the socket file belongs to a service manager.
func (f *serveFlags) listen(ctx context.Context, dirs shim.Dirs) (l *net.UnixListener, kept bool, err error) {
	if f.listenFD >= 0 {
		l, err = inherit(f.listenFD)
		// sd_listen_fds(3): the manager names the process that its fds are for.
		kept = os.Getenv("LISTEN_PID") == strconv.Itoa(os.Getpid())
	} else {
		l, err = shim.Listen(ctx, dirs.ShimSocket())
	}
	if errors.Is(err, shim.ErrRunning) {
		return nil, false, fmt.Errorf("%s: %w", dirs.ShimSocket(), err)
	}
	if err != nil {
		return nil, false, err
	}
	if f.group == "" {
		return l, kept, nil
	}
	if err := giveToGroup(shim.ListenPath(l), f.group); err != nil {
		return nil, false, errors.Join(err, l.Close())
	}
	return l, kept, nil
}

func inherit(fd int) (*net.UnixListener, error) {
	if fd < 3 {
		return nil, fmt.Errorf("--listen-fd %d: want 3 or more", fd)
	}
	file := os.NewFile(uintptr(fd), "listen-fd")
	defer file.Close()
	l, err := net.FileListener(file)
	if err != nil {
		return nil, fmt.Errorf("--listen-fd %d: %w", fd, err)
	}
	u, ok := l.(*net.UnixListener)
	if !ok {
		return nil, errors.Join(fmt.Errorf("--listen-fd %d: is a socket of %s, want a unix socket", fd, l.Addr().Network()), l.Close())
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
