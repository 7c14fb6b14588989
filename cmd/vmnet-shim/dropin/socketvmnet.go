package dropin

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/signal"
	"syscall"

	"github.com/google/uuid"
	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// defaultGroup is the group that may connect when --socket-group is not given.
const defaultGroup = "staff"

// socketVmnetFlags are the options of socket_vmnet.
type socketVmnetFlags struct {
	group       string
	net         settings
	interfaceID string
	networkID   string
	disableDHCP bool
	pidfile     string
}

// newSocketVmnet returns socket_vmnet: a stream socket on which every connection is
// an attachment of its own.
func newSocketVmnet(cfg Config) *cobra.Command {
	f := socketVmnetFlags{net: settings{mode: vmnet.Shared}}
	cmd := &cobra.Command{
		Use:   SocketVmnet + " [OPTION]… SOCKET",
		Short: "Drop-in: serve frames on a stream socket, as socket_vmnet does",
		Long: `Listen on SOCKET, a stream socket on which a 4-byte big-endian length is before
each frame, as QEMU's -netdev stream and -netdev socket speak it. Every connection
is an attachment of its own, made with the first frame and known by the MAC that
the frame has: the same guest gets the same address again. Guests with the same
options see each other; nothing is flooded.

SIGTERM, SIGINT and SIGHUP end it and take the attachments away. When it ends by
accident the guests go on, and the next one takes them over.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return wantSocket(args)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			req, err := f.request()
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
			defer stop()
			return f.serve(ctx, args[0], cmd.Flags().Changed("socket-group"), req, newLog(cmd.ErrOrStderr(), false))
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.group, "socket-group", defaultGroup, "group whose members may connect")
	fl.Var(modeFlag{&f.net.mode}, "vmnet-mode", "host, shared or bridged")
	fl.StringVar(&f.net.uplink, "vmnet-interface", "", "interface for mode bridged, as en0")
	fl.Var(ipv4Flag{&f.net.gateway}, "vmnet-gateway", "gateway of modes host and shared; the next address is the first guest's")
	fl.Var(ipv4Flag{&f.net.end}, "vmnet-dhcp-end", "last address for guests (default 254 in the gateway's /24)")
	fl.Var(ipv4Flag{&f.net.mask}, "vmnet-mask", "subnet mask (default 255.255.255.0)")
	registerDHCP(fl, &f.net.dhcp)
	fl.StringVar(&f.interfaceID, "vmnet-interface-id", "", "UUID; accepted: an interface is known by its guest's MAC here")
	fl.StringVar(&f.networkID, "vmnet-network-identifier", "", "UUID of a network of guests alone, without DHCP; mode host")
	fl.Var(prefix6Flag{&f.net.prefix6}, "vmnet-nat66-prefix", "unique local IPv6 /64 of mode shared")
	fl.BoolVar(&f.disableDHCP, "vmnet-disable-dhcp", false, "refused: see --vmnet-network-identifier")
	fl.StringVarP(&f.pidfile, "pidfile", "p", "", "save the process ID in this file")
	versionFlag(cmd, cfg.Version, "v")
	return cmd
}

// wantSocket is the error for other arguments than one socket.
func wantSocket(args []string) error {
	if len(args) == 0 {
		return errors.New("want SOCKET")
	}
	return fmt.Errorf("arguments %q: want SOCKET", args)
}

// request checks the options against each other, as the real program does, and
// makes them a request.
func (f *socketVmnetFlags) request() (shim.AttachRequest, error) {
	n := &f.net
	given := n.gateway.IsValid()
	switch {
	case f.disableDHCP:
		return shim.AttachRequest{}, refuse("vmnet-disable-dhcp", "", "the shim answers only guests that ask, and a guest may set the address of its lease by hand; for a network without DHCP use --vmnet-mode=host --vmnet-network-identifier=UUID")
	case n.mode == vmnet.Bridged && n.uplink == "":
		return shim.AttachRequest{}, errors.New("--vmnet-mode bridged: want --vmnet-interface as well")
	case n.mode == vmnet.Bridged && given:
		return shim.AttachRequest{}, refuse("vmnet-gateway", n.gateway.String(), "mode bridged has the LAN's")
	case n.mode != vmnet.Bridged && n.uplink != "":
		n.uplink = "" // the real program does not look at it either
	case !given && n.end.IsValid():
		return shim.AttachRequest{}, refuse("vmnet-dhcp-end", n.end.String(), "want --vmnet-gateway as well")
	case !given && n.mask.IsValid():
		return shim.AttachRequest{}, refuse("vmnet-mask", n.mask.String(), "want --vmnet-gateway as well")
	case n.prefix6.IsValid() && n.mode != vmnet.Shared:
		return shim.AttachRequest{}, refuse("vmnet-nat66-prefix", n.prefix6.String(), "want mode shared")
	}
	if err := f.ids(); err != nil {
		return shim.AttachRequest{}, err
	}
	if given {
		fillGateway(n)
	}
	r, err := n.request()
	r.Frames = shim.FramesStream
	return r, err
}

// ids reads the options that are UUIDs.
func (f *socketVmnetFlags) ids() error {
	if f.interfaceID != "" {
		if _, err := uuid.Parse(f.interfaceID); err != nil {
			return refuse("vmnet-interface-id", f.interfaceID, "want a UUID")
		}
	}
	if f.networkID == "" {
		return nil
	}
	id, err := uuid.Parse(f.networkID)
	switch {
	case err != nil || id == uuid.Nil:
		return refuse("vmnet-network-identifier", f.networkID, "want a UUID")
	case f.net.mode != vmnet.Host:
		return refuse("vmnet-network-identifier", f.networkID, "want --vmnet-mode=host as well")
	case f.net.gateway.IsValid():
		return refuse("vmnet-network-identifier", f.networkID, "want no --vmnet-gateway: the guests are among themselves")
	}
	f.net.layer2 = id
	return nil
}

// fillGateway sets what follows from the gateway.
func fillGateway(n *settings) {
	if !n.mask.IsValid() {
		n.mask = defaultMask
	}
	if !n.end.IsValid() {
		a := n.gateway.As4()
		a[3] = 254
		n.end = netip.AddrFrom4(a)
	}
}

// serve listens until ctx ends.
func (f *socketVmnetFlags) serve(ctx context.Context, path string, mustGroup bool, req shim.AttachRequest, log *logrus.Logger) (err error) {
	if f.pidfile != "" {
		remove, err := writePID(f.pidfile)
		if err != nil {
			return fmt.Errorf("--pidfile %s: %w", f.pidfile, err)
		}
		defer remove()
	}
	c, err := ensure(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	l, err := listenFor(path, f.group, mustGroup, log)
	if err != nil {
		return err
	}
	d := newDoor(c, req, log)
	log.WithFields(logrus.Fields{"socket": path, "network": req.Network.Name, "mode": req.Network.Mode.String()}).Info("serving")
	return d.serve(ctx, l)
}
