package netstack

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vmnet-cni/vmnet/internal/quota"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// resolvConf is where both Linux and macOS tell the host's resolvers.
const resolvConf = "/etc/resolv.conf"

// Config configures a Driver. The zero value is good.
type Config struct {
	// Limits hold for each network, but for Sockets.
	Limits Limits
	// ResolvConf is the file with the host's resolvers, read again whenever it
	// changed. Empty: /etc/resolv.conf.
	ResolvConf string
	// Log is told what an operator may want to know and no caller is told, never
	// per packet. Nil: nobody.
	Log func(format string, args ...any)

	sockets *quota.Quota[owner] // of the driver
}

// A Driver opens networks whose gateway is a TCP/IP stack in the process.
type Driver struct{ cfg Config }

var _ vmnet.Driver = (*Driver)(nil)

// New returns a driver. It holds nothing open by itself.
func New(cfg Config) *Driver {
	cfg.Limits = cfg.Limits.withDefaults()
	cfg.sockets = quartered(cfg.Limits.Sockets)
	if cfg.ResolvConf == "" {
		cfg.ResolvConf = resolvConf
	}
	if cfg.Log == nil {
		cfg.Log = func(string, ...any) {}
	}
	return &Driver{cfg: cfg}
}

// Open implements vmnet.Driver. It needs a Subnet or a Subnet6 unless Layer2 is
// set, and returns an error that wraps errors.ErrUnsupported for bridged networks.
// The network is a *Network.
func (d *Driver) Open(ctx context.Context, cfg vmnet.NetworkConfig) (vmnet.Network, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := supported(cfg); err != nil {
		return nil, err
	}
	info, err := cfg.Grant(usable)
	if err != nil {
		return nil, err
	}
	return open(d.cfg, info)
}

func supported(cfg vmnet.NetworkConfig) error {
	switch {
	case cfg.Mode == vmnet.Bridged:
		return fmt.Errorf("mode bridged: driver netstack has no uplink: %w", errors.ErrUnsupported)
	case cfg.Mode != vmnet.Shared && cfg.Mode != vmnet.Host:
		return fmt.Errorf("mode %s: want shared or host: %w", cfg.Mode, vmnet.InvalidArgument)
	case cfg.Uplink != "":
		return fmt.Errorf("uplink %q of a %s network: want none: %w", cfg.Uplink, cfg.Mode, vmnet.InvalidArgument)
	}
	return nil
}

// usable reports whether guests may have addresses of p: none of those that they
// are kept from reaching.
func usable(p netip.Prefix) bool {
	if p.Addr().Is4() {
		return !forbidden(p.Addr())
	}
	return !forbidden6(p.Addr()) && !forbidden6(vmnet.LastAddr(p))
}
