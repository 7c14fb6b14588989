package dropin

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// helperFlags are the options that vmnet-helper and vmnet-run share.
type helperFlags struct {
	net           settings
	interfaceID   string
	network       string
	tso, checksum bool
	listUplinks   bool
	verbose       bool
	stats         int
	dhcp          dhcpServer // by default
}

func (f *helperFlags) register(fl *pflag.FlagSet) {
	f.net.mode, f.net.dhcp = vmnet.Shared, f.dhcp
	fl.StringVarP(&f.interfaceID, "interface-id", "i", "", "UUID; the same one gets the same MAC and address")
	fl.Var(modeFlag{&f.net.mode}, "operation-mode", "shared, bridged or host")
	fl.StringVar(&f.net.uplink, "shared-interface", "", "interface for mode bridged, as en0")
	fl.Var(ipv4Flag{&f.net.gateway}, "start-address", "gateway; the next address is the first guest's")
	fl.Var(ipv4Flag{&f.net.end}, "end-address", "last address for guests")
	fl.Var(ipv4Flag{&f.net.mask}, "subnet-mask", "subnet mask")
	fl.BoolVar(&f.tso, "enable-tso", false, "frames of up to 64 KiB; with --enable-checksum-offload")
	fl.BoolVar(&f.checksum, "enable-checksum-offload", false, "checksums left to the receiver; with --enable-tso")
	fl.BoolVar(&f.net.isolated, "enable-isolation", false, "keep the guest from others; mode host")
	registerDHCP(fl, &f.net.dhcp)
	fl.StringVar(&f.network, "network", "", "network by name, in the place of the options that describe one")
	fl.BoolVar(&f.listUplinks, "list-shared-interfaces", false, "print the interfaces for --shared-interface and end")
	fl.IntVar(&f.stats, "stats-interval", 0, "print counters as a line of JSON to stderr, every so many seconds")
	fl.BoolVarP(&f.verbose, "verbose", "v", false, "log more")
}

// request checks the options against each other, as the real program does, and
// makes them a request and a container ID.
func (f *helperFlags) request(changed func(string) bool) (r shim.AttachRequest, id string, err error) {
	n := &f.net
	some := n.gateway.IsValid() || n.end.IsValid() || n.mask.IsValid()
	all := n.gateway.IsValid() && n.end.IsValid() && n.mask.IsValid()
	switch {
	case some && !all:
		return r, "", f.lonely()
	case some && n.mode == vmnet.Bridged:
		return r, "", refuse("start-address", n.gateway.String(), "mode bridged has the LAN's")
	case n.mode == vmnet.Bridged && n.uplink == "":
		return r, "", errors.New("--operation-mode bridged: want --shared-interface as well")
	case n.isolated && n.mode != vmnet.Host:
		return r, "", refuse("enable-isolation", "", "want --operation-mode host as well")
	case f.tso != f.checksum:
		return r, "", errors.New("--enable-tso, --enable-checksum-offload: want both or none: one alone loses frames")
	case f.stats < 0:
		return r, "", refuse("stats-interval", strconv.Itoa(f.stats), "want seconds")
	}
	if n.mode != vmnet.Bridged {
		n.uplink = ""
	}
	n.offload = f.tso
	if f.network != "" {
		if err := f.named(changed); err != nil {
			return r, "", err
		}
	}
	if r, err = n.request(); err != nil {
		return r, "", err
	}
	if f.network != "" {
		r.Network.Name = f.network
		if r.Network.IPAM == shim.IPAMSystem { // another than that which callers of CNI have
			r.Network.Name += bootpdSuffix
		}
	}
	id, err = f.containerID()
	return r, id, err
}

// lonely says which options of the subnet are missing beside which.
func (f *helperFlags) lonely() error {
	var there, missing []string
	for _, o := range []struct {
		name string
		addr netip.Addr
	}{{"--start-address", f.net.gateway}, {"--end-address", f.net.end}, {"--subnet-mask", f.net.mask}} {
		if o.addr.IsValid() {
			there = append(there, o.name)
		} else {
			missing = append(missing, o.name)
		}
	}
	return fmt.Errorf("%s: want %s with it", strings.Join(there, ", "), strings.Join(missing, " and "))
}

// named checks that nothing else describes the network.
func (f *helperFlags) named(changed func(string) bool) error {
	for _, name := range []string{"operation-mode", "shared-interface", "start-address", "end-address", "subnet-mask", "enable-isolation"} {
		if changed(name) {
			return fmt.Errorf("--network %s: want no --%s with it", f.network, name)
		}
	}
	if f.network == "host" { // the two that vmnet-broker has
		f.net.mode = vmnet.Host
	}
	return shim.CheckNetwork(f.network)
}

// containerID names the attachment by the interface ID, a new one when none is
// given.
func (f *helperFlags) containerID() (string, error) {
	if f.interfaceID == "" {
		id, err := uuid.NewRandomFromReader(rand.Reader)
		if err != nil {
			return "", err
		}
		f.interfaceID = strings.ToUpper(id.String())
	}
	id, err := uuid.Parse(f.interfaceID)
	if err != nil || len(f.interfaceID) != 36 {
		return "", refuse("interface-id", f.interfaceID, "want a UUID")
	}
	return "if-" + id.String(), nil
}

// newHelper returns vmnet-helper: one attachment for the guest at the other end of
// a descriptor or of a socket's path.
func newHelper(cfg Config) *cobra.Command {
	f := helperFlags{dhcp: dhcpSystem} // minikube looks for the guest's address in its file
	var fd int
	var socket string
	cmd := &cobra.Command{
		Use:   Helper + " (--fd FD | --socket PATH) [OPTION]…",
		Short: "Drop-in: one interface for a guest, as vmnet-helper does",
		Long: `Make an interface for the guest at the other end of FD, a datagram socket, or for
the guest that sends to PATH, and print what it is as a line of JSON. SIGTERM and
SIGINT end it and take the interface away, as does the guest's end with FD.

Unlike the real one, it takes a new guest on PATH when the one before has gone.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, syscall.SIGINT)
			defer stop()
			if f.listUplinks {
				return printUplinks(cmd.OutOrStdout())
			}
			byFD := cmd.Flags().Changed("fd")
			if byFD == (socket != "") {
				return errors.New("want --fd FD or --socket PATH, one of them")
			}
			req, id, err := f.request(cmd.Flags().Changed)
			if err != nil {
				return err
			}
			h := &helper{
				flags: &f, req: req, id: id, log: newLog(cmd.ErrOrStderr(), f.verbose), stderr: cmd.ErrOrStderr(),
				must: cmd.Flags().Changed("dhcp"),
			}
			if byFD {
				h.socket, err = inheritGuest(fd)
				h.single = err == nil && hasPeer(fd)
			} else {
				h.socket, err = bindGuest(socket)
			}
			if err != nil {
				return err
			}
			defer h.socket.Close()
			if !byFD {
				defer os.Remove(socket)
			}
			return h.serve(ctx, cmd.OutOrStdout())
		},
	}
	fl := cmd.Flags()
	fl.IntVarP(&fd, "fd", "f", -1, "descriptor of a datagram socket whose other end the guest has")
	fl.StringVarP(&socket, "socket", "s", "", "path of a datagram socket to make, for the guest to send to")
	f.register(fl)
	versionFlag(cmd, helperVersion(cfg), "")
	return cmd
}

// newRun returns vmnet-run: it runs a program with the frame fd of a new attachment
// as fd 4.
func newRun(cfg Config) *cobra.Command {
	var f helperFlags
	cmd := &cobra.Command{
		Use:   Run + " [OPTION]… -- CMD [ARG…]",
		Short: "Drop-in: run a program with a frame fd as fd 4, as vmnet-run does",
		Long: `Make an interface and run CMD with its frame fd, a datagram socket, as fd 4. The
interface goes away when CMD ends; its exit status is this program's.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 && !f.listUplinks {
				return errors.New("want CMD, as in: vmnet-run -- CMD")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.listUplinks {
				return printUplinks(cmd.OutOrStdout())
			}
			req, id, err := f.request(cmd.Flags().Changed)
			if err != nil {
				return err
			}
			return runWith(cmd, cfg, req, id, args)
		},
	}
	f.register(cmd.Flags())
	cmd.Flags().SetInterspersed(false)
	versionFlag(cmd, helperVersion(cfg), "")
	return cmd
}

// runWith attaches, runs a program with the frame fd, and detaches.
func runWith(cmd *cobra.Command, cfg Config, req shim.AttachRequest, id string, args []string) error {
	// From here on no signal may end us before the attachment is deleted.
	ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer stop()
	c, err := ensure(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	return runOn(ctx, cfg, c, req, id, args)
}

// runOn is runWith on a shim that is reached.
func runOn(ctx context.Context, cfg Config, c *shim.Client, req shim.AttachRequest, id string, args []string) (err error) {
	a, err := attachAgain(ctx, c, req, id)
	if err != nil && ctx.Err() != nil { // nobody knows how far the shim came
		return errors.Join(err, detach(ctx, c, shim.Attachment{Network: req.Network.Name, ContainerID: id, IfName: ifname}))
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, detach(ctx, c, a)) }()
	_, frames, err := c.Frames(ctx, a.Network, a.ContainerID, a.IfName)
	if err != nil {
		return err
	}
	defer frames.Close() // when no program was started
	status, err := cfg.RunChild(ctx, args, append(cfg.Environment(a), "VMNET_FD=4"), []*os.File{nil, frames}, func() { _ = frames.Close() })
	if err == nil && status != 0 {
		err = cfg.Exit(status)
	}
	return err
}

// every returns a channel that ticks, or nil for none.
func every(seconds int) (<-chan time.Time, func()) {
	if seconds == 0 {
		return nil, func() {}
	}
	t := time.NewTicker(time.Duration(seconds) * time.Second)
	return t.C, t.Stop
}

// printUplinks prints the names of the host's interfaces that can be bridged.
func printUplinks(w io.Writer) error {
	names, err := uplinks()
	if err != nil {
		return err
	}
	for _, name := range names {
		fmt.Fprintln(w, name)
	}
	return nil
}

// helperVersion is what --version prints: the release of vmnet-helper whose options
// these are, as a number that minikube compares (from 0.9.0 on it needs no sudo on
// macOS 26; what is no number ends it), and who prints it.
func helperVersion(cfg Config) string { return "version: v0.9.0\ncommit: vmnet-shim-" + cfg.Version }
