package dropin

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// frameFD is the number under which a program that socket_vmnet_client starts finds
// its frames.
const frameFD = 3

// newClient returns socket_vmnet_client: it connects to a socket and becomes a
// program with the connection as fd 3.
func newClient(cfg Config) *cobra.Command {
	cmd := &cobra.Command{
		Use:   SocketVmnetClient + " SOCKET CMD [ARG…]",
		Short: "Drop-in: run a program with a connection to socket_vmnet as fd 3",
		Long: `Connect to the socket of socket_vmnet, or any socket with frames behind a 4-byte
length, and become CMD with the connection as fd 3, as in
  socket_vmnet_client SOCKET qemu-system-x86_64 \
      -device virtio-net-pci,netdev=net0 -netdev socket,id=net0,fd=3`,
		Args: func(_ *cobra.Command, args []string) error {
			switch len(args) {
			case 0:
				return errors.New("want SOCKET CMD [ARG…]")
			case 1:
				return fmt.Errorf("arguments %q: want SOCKET CMD [ARG…]", args)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := exec.LookPath(args[1])
			if err != nil {
				return err
			}
			fd, err := connectStream(args[0])
			if err != nil {
				return err
			}
			if fd == frameFD {
				// Nothing else has that number, the runtime's poller neither.
				if _, err := unix.FcntlInt(frameFD, unix.F_SETFD, 0); err != nil {
					return os.NewSyscallError("fcntl F_SETFD", err)
				}
				err := syscall.Exec(path, args[1:], os.Environ())
				return fmt.Errorf("run %s: %w", path, err)
			}
			return runChild(cmd, cfg, args[1:], fd)
		},
	}
	cmd.Flags().SetInterspersed(false) // what follows CMD is CMD's
	return cmd
}

// runChild is the way when fd 3 was taken already: the program is a child then.
func runChild(cmd *cobra.Command, cfg Config, args []string, fd int) error {
	f := os.NewFile(uintptr(fd), "frames")
	defer f.Close()
	status, err := cfg.RunChild(cmd.Context(), args, nil, []*os.File{f}, func() { _ = f.Close() })
	if err == nil && status != 0 {
		err = cfg.Exit(status)
	}
	return err
}

// connectStream connects to a stream socket, with no help from package net: that
// would open the runtime's poller, which takes fd 3.
func connectStream(path string) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	unix.CloseOnExec(fd)
	for {
		err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("socket %s: %w", path, os.NewSyscallError("connect", err))
	}
	return fd, nil
}
