package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/shim/keeper"
)

const keepHelp = `Listen on shim.sock, start "vmnet-shim serve" with the arguments after --, keep
its sockets, and start it again when it dies: guests stay connected.

SIGHUP has the shim started again, from a new program if there is one; SIGTERM
and SIGINT end both. Under systemd this command is not needed: systemd does the
same (docs/operate.md).`

func newKeep() *cobra.Command {
	return &cobra.Command{
		Use:                   "keep [--listen-fd N] [-- serve FLAGS]",
		Short:                 "Start the shim, keep its sockets, and start it again when it dies",
		Long:                  keepHelp,
		DisableFlagParsing:    true,
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 && (args[0] == "--help" || args[0] == "-h") {
				return cmd.Help()
			}
			return keep(cmd.Context(), args, cmd.ErrOrStderr())
		},
	}
}

// keep is the keeper's program.
func keep(ctx context.Context, args []string, stderr io.Writer) error {
	if ctx == nil {
		ctx = context.Background()
	}
	fl := flag.NewFlagSet("keep", flag.ContinueOnError)
	fl.SetOutput(io.Discard) // the error says it
	listenFD := fl.Int("listen-fd", -1, "")
	adoptFD := fl.Int("adopt-fd", -1, "")
	if err := fl.Parse(args); err != nil {
		return fmt.Errorf("keep: %w", err)
	}
	serve := fl.Args()
	if len(serve) == 0 {
		serve = []string{"serve"}
	}
	small()
	unix.Umask(0o077)
	if err := closeInherited(func(fd int) bool { return fd == *listenFD || fd == *adoptFD }); err != nil {
		return fmt.Errorf("inherited descriptors: %w", err)
	}
	dirs, err := shim.FindDirs()
	if err == nil {
		err = dirs.Prepare()
	}
	if err != nil {
		return err
	}
	program, err := ownProgram()
	if err != nil {
		return err
	}
	l, err := keepListener(ctx, *listenFD, dirs)
	if err != nil {
		return err
	}
	defer l.Close()
	cfg := keeper.Config{Program: program, Args: serve, Listener: l, Dir: dirs.Runtime, Logf: func(format string, args ...any) {
		fmt.Fprintf(stderr, "time=%s level=warning msg=%q\n", time.Now().Format("2006-01-02T15:04:05.000Z07:00"), "keeper: "+fmt.Sprintf(format, args...))
	}}
	cfg.Prepare = confineChild(program, serve, dirs, l)
	if *adoptFD >= 0 {
		unix.CloseOnExec(*adoptFD)
		cfg.Adopt = os.NewFile(uintptr(*adoptFD), "life")
	}
	err = keeper.Run(ctx, cfg)
	var end *keeper.EndError
	if errors.As(err, &end) {
		return exitStatus(end.Status) // the shim has said why
	}
	return err
}

// small makes this process a small one: it does next to nothing, and the packages
// of the shim that are linked into it have done what they do at their start.
func small() {
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(20)
	debug.SetMemoryLimit(16 << 20)
	debug.FreeOSMemory()
}

// ownProgram returns the path by which this program was started, so that what has
// been put in its place is what is started next.
func ownProgram() (string, error) {
	if filepath.IsAbs(os.Args[0]) {
		return os.Args[0], nil
	}
	return os.Executable()
}

// keepListener returns the listener: the inherited one, or one of our own.
func keepListener(ctx context.Context, fd int, dirs shim.Dirs) (*os.File, error) {
	if fd >= 3 {
		unix.CloseOnExec(fd)
		return os.NewFile(uintptr(fd), "listen-fd"), nil
	}
	if fd >= 0 {
		return nil, fmt.Errorf("--listen-fd %d: want 3 or more", fd)
	}
	l, err := shim.Listen(ctx, dirs.ShimSocket())
	if errors.Is(err, shim.ErrRunning) {
		return nil, fmt.Errorf("%s: %w", dirs.ShimSocket(), err)
	}
	if err != nil {
		return nil, err
	}
	f, err := keeper.Duplicate(l, keeper.ListenName)
	return f, errors.Join(err, l.Close())
}
