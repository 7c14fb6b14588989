package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/vmnet-cni/vmnet/internal/progress"
	"github.com/vmnet-cni/vmnet/pkg/capture"
	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// lastWords bounds the wait for the end of a capture that was asked to end.
const lastWords = 5 * time.Second

// captureFlags are the flags of "capture".
type captureFlags struct {
	opts  shim.CaptureOptions
	write string
	ring  ringFlag
}

func newCapture() *cobra.Command {
	var f captureFlags
	cmd := &cobra.Command{
		Use:   "capture NETWORK CONTAINER IFNAME",
		Short: "Capture an attachment's frames as pcapng",
		Long: `Capture the frames between a guest and its interface, as pcapng, until SIGINT or
SIGTERM: what the guest sends before anything is dropped, and what it gets. Under
load the capture loses frames rather than delay them, and says how many.

The filter is that of tcpdump, with these primitives: ip, ip6, arp, tcp, udp, icmp,
icmp6, [src|dst] host, [src|dst] net, [tcp|udp] [src|dst] port or portrange, ether
src, dst, host, broadcast or multicast, less, greater; and, or, not, parentheses.`,
		Example: `  vmnet-shim capture shared c1 eth0 --filter 'udp port 67 or icmp6' | wireshark -k -i -
  vmnet-shim capture shared c1 eth0 -w frames.pcapng --ring 10MiB:5`,
		Args: cobra.ExactArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.opts.Filter, "filter", "", "which frames (default all)")
	fl.IntVar(&f.opts.SnapLen, "snaplen", 0, "bytes of a frame that are kept (default all)")
	fl.Uint64Var(&f.opts.Count, "count", 0, "end after so many frames (default none)")
	fl.StringVarP(&f.write, "write", "w", "", "file to write (default stdout, as -)")
	fl.Var(&f.ring, "ring", "begin a new file after SIZE, as 10MiB, and keep the last FILES; with --write")
	return cmd
}

func (f *captureFlags) run(cmd *cobra.Command, args []string) error {
	if _, err := capture.ParseFilter(f.opts.Filter); err != nil {
		return fmt.Errorf("--filter: %w", err)
	}
	if err := f.check(cmd.OutOrStdout()); err != nil {
		return err
	}
	c, err := connect()
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	in, err := c.Capture(cmd.Context(), args[0], args[1], args[2], f.opts)
	if err != nil {
		return err
	}
	defer in.Close()
	// Not before: what is there is worth more than a capture that does not begin.
	out, err := f.output(cmd.OutOrStdout())
	if err != nil {
		return err
	}
	// Asked to end, the shim sends what waits, and the statistics.
	stopping := context.AfterFunc(ctx, func() {
		_ = in.Stop()
		time.AfterFunc(lastWords, func() { _ = in.Close() })
	})
	defer stopping()
	var line *progress.Line
	if _, piped := out.(nopCloser); !piped { // else the reader may have the terminal
		line = waiting(cmd, nil, "waiting for frames")
		defer line.Stop()
	}
	_, err = io.Copy(&watched{Writer: out, line: line, to: f.write}, in)
	line.Stop()
	if ctx.Err() != nil || errors.Is(err, syscall.EPIPE) {
		err = nil // it was cut short, or the reader has enough
	}
	return errors.Join(err, out.Close())
}

// toStdout reports whether the capture goes to stdout.
func (f *captureFlags) toStdout() bool { return f.write == "" || f.write == "-" }

// check looks whether the capture can go where it is to go.
func (f *captureFlags) check(stdout io.Writer) error {
	if !f.toStdout() {
		return nil
	}
	if f.ring.files > 0 {
		return errors.New("--ring: want --write as well")
	}
	if o, ok := stdout.(*os.File); ok && isTerminal(o) {
		return errors.New("capture: pcapng is not for a terminal; want --write FILE, or a pipe into Wireshark")
	}
	return nil
}

// output opens where the capture goes.
func (f *captureFlags) output(stdout io.Writer) (io.WriteCloser, error) {
	if f.toStdout() {
		return nopCloser{stdout}, nil
	}
	if f.ring.files > 0 {
		return capture.NewRing(f.write, f.ring.size, f.ring.files)
	}
	file, err := os.OpenFile(f.write, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("--write %s: %w", f.write, errors.Unwrap(err))
	}
	return file, nil
}

// watched tells how much has been written.
type watched struct {
	io.Writer
	line *progress.Line
	to   string
	sum  int64
}

func (w *watched) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	w.sum += int64(n)
	if w.line == nil {
		return n, err
	}
	w.line.Tell(fmt.Sprintf("capturing into %s: %sB", w.to, human(float64(w.sum))))
	return n, err
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// ringFlag is --ring.
type ringFlag struct {
	size  int64
	files int
}

func (r *ringFlag) String() string {
	if r.files == 0 {
		return ""
	}
	return fmt.Sprintf("%d:%d", r.size, r.files)
}

// Set implements pflag.Value.
func (r *ringFlag) Set(text string) error {
	size, files, _ := strings.Cut(text, ":")
	unit := int64(1)
	for suffix, n := range map[string]int64{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30} {
		if s, ok := strings.CutSuffix(size, suffix); ok {
			size, unit = s, n
		}
	}
	n, err1 := strconv.ParseInt(size, 10, 32)
	m, err2 := strconv.Atoi(files)
	if err1 != nil || err2 != nil || n < 1 || m < 1 || m > 1000 || n*unit < capture.MinRing {
		return fmt.Errorf("want SIZE:FILES, as 10MiB:5, with at least %d bytes and at most 1000 files", capture.MinRing)
	}
	r.size, r.files = n*unit, m
	return nil
}

// Type implements pflag.Value.
func (r *ringFlag) Type() string { return "SIZE:FILES" }
