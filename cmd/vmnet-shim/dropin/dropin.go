// Package dropin has the command lines of the programs that people run today, on
// top of the shim: socket_vmnet, socket_vmnet_client, vmnet-helper and vmnet-run.
// A symbolic link of one of these names that leads to vmnet-shim is the program.
//
// The options are those of socket_vmnet 1.2 and vmnet-helper 0.12; what the shim
// cannot honour is refused by name. None of these programs touches a frame: they
// hand the guest's socket to the shim, and so a guest goes on when they end by
// accident.
package dropin

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// Names of the programs.
const (
	SocketVmnet       = "socket_vmnet"
	SocketVmnetClient = "socket_vmnet_client"
	Helper            = "vmnet-helper"
	Run               = "vmnet-run"
)

// Config is what the programs need of their surroundings.
type Config struct {
	// Version is what --version prints.
	Version string
	// RunChild starts a program with files as its descriptors from 3 on, forwards
	// signals to it and returns its exit status. A nil file leaves its number
	// closed. The files stay the caller's, to close when started is called. No program
	// is started when ctx has ended.
	RunChild func(ctx context.Context, args []string, env []string, files []*os.File, started func()) (int, error)
	// Environment tells a program what its frame fd is.
	Environment func(a shim.Attachment) []string
	// Exit makes an error that ends this program with a status and no message.
	Exit func(status int) error
}

// Called returns the arguments for the root command when argv names one of the
// programs.
func Called(argv []string) ([]string, bool) {
	if len(argv) == 0 {
		return nil, false
	}
	name := filepath.Base(argv[0])
	if !Is(name) {
		return nil, false
	}
	return append([]string{name}, argv[1:]...), true
}

// Is reports whether name is one of the programs.
func Is(name string) bool {
	return slices.Contains([]string{SocketVmnet, SocketVmnetClient, Helper, Run}, name)
}

// Commands returns the programs as commands.
func Commands(cfg Config) []*cobra.Command {
	return []*cobra.Command{newSocketVmnet(cfg), newClient(cfg), newHelper(cfg), newRun(cfg)}
}

// ensure reaches the shim, and starts it when nobody listens.
func ensure(ctx context.Context) (*shim.Client, error) {
	self, err := os.Executable()
	if err == nil {
		self, err = filepath.EvalSymlinks(self) // the name decides what runs
	}
	if err != nil {
		return nil, err
	}
	return shim.Ensure(ctx, shim.EnsureConfig{Binary: self, Spawn: true})
}

// newLog returns the log of a program, which goes to w. $DEBUG is socket_vmnet's
// way to ask for more.
func newLog(w io.Writer, verbose bool) *logrus.Logger {
	log := logrus.New()
	log.SetOutput(w)
	log.SetFormatter(&logrus.TextFormatter{FullTimestamp: true, DisableColors: true, TimestampFormat: "2006-01-02T15:04:05.000Z07:00"})
	if verbose || os.Getenv("DEBUG") != "" {
		log.SetLevel(logrus.DebugLevel)
	}
	return log
}

// A sore is a fault that is looked at again and again, and told when it begins, when
// it becomes another, and when it is over.
type sore struct{ last string }

func (s *sore) tell(log *logrus.Logger, err error, what string) {
	now := ""
	if err != nil {
		now = err.Error()
	}
	switch {
	case now == s.last:
	case err != nil:
		log.WithError(err).Warn(what)
	default:
		log.Info("no more: " + what)
	}
	s.last = now
}

// versionFlag makes --version print v, with the short form that the real program
// has, if any.
func versionFlag(cmd *cobra.Command, v, short string) {
	cmd.Version = v
	cmd.SetVersionTemplate("{{.Version}}\n")
	cmd.Flags().BoolP("version", short, false, "print the version and end")
}

// refuse is the error for an option that cannot be honoured.
func refuse(flag, value, why string) error {
	if value != "" {
		value = " " + value
	}
	return fmt.Errorf("--%s%s: %s", flag, value, why)
}
