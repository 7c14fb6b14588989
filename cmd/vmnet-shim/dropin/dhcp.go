package dropin

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/pflag"

	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// A dhcpServer is who gives guests their addresses.
type dhcpServer string

// DHCP servers: the shim from its leases, or the system's own, which is macOS'
// bootpd. That one writes /var/db/dhcpd_leases, where minikube looks for the address
// of a machine by its MAC (its pkg/drivers/common/dhcp/lease.go); the file is
// bootpd's alone, so who needs an entry there has bootpd make it.
const (
	dhcpShim   dhcpServer = "shim"
	dhcpSystem dhcpServer = "system"
)

// bootpdSuffix ends the name of a network whose addresses the system gives.
const bootpdSuffix = "-bootpd"

// registerDHCP adds the option, which the real programs do not have. d has the
// default; empty is dhcpShim.
func registerDHCP(fl *pflag.FlagSet, d *dhcpServer) {
	if *d == "" {
		*d = dhcpShim
	}
	fl.Var(d, "dhcp", "who gives addresses: shim, or system (macOS' bootpd, which writes /var/db/dhcpd_leases)")
}

// String implements pflag.Value.
func (d *dhcpServer) String() string { return string(*d) }

// Set implements pflag.Value.
func (d *dhcpServer) Set(text string) error {
	switch v := dhcpServer(text); v {
	case dhcpShim, dhcpSystem:
		*d = v
		return nil
	}
	return fmt.Errorf("want %s or %s", dhcpShim, dhcpSystem)
}

// Type implements pflag.Value.
func (d *dhcpServer) Type() string { return "SERVER" }

// attach attaches the helper's guest. Where no system's DHCP server can be had, as
// with driver netstack, and nobody asked for it by name, the shim gives the address.
func (h *helper) attach(ctx context.Context, c *shim.Client) (shim.Attachment, error) {
	a, err := attachAgain(ctx, c, h.req, h.id)
	if h.req.Network.IPAM != shim.IPAMSystem || h.must || !hasNoSystem(err) {
		return a, err
	}
	h.log.WithError(err).Info("addresses come from the shim")
	h.flags.net.dhcp = dhcpShim
	req, id, rerr := h.flags.request(func(string) bool { return false })
	if rerr != nil {
		return a, errors.Join(err, rerr)
	}
	h.req, h.id = req, id
	return attachAgain(ctx, c, h.req, h.id)
}

// hasNoSystem reports whether err says that the driver with the system's DHCP server
// is not there, or not for this user.
func hasNoSystem(err error) bool {
	code := shim.CodeOf(err)
	return code == shim.CodeUnsupported || code == shim.CodeDenied
}
