package netstack

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// DefaultDomain is the DNS domain of the gateway's own names.
const DefaultDomain = "vm.internal"

// resolvConf is where both Linux and macOS tell the host's resolvers.
const resolvConf = "/etc/resolv.conf"

// Config configures a Driver. The zero value is good.
type Config struct {
	// Limits hold for each network.
	Limits Limits
	// ResolvConf is the file with the host's resolvers, read again whenever it
	// changed. Empty: /etc/resolv.conf.
	ResolvConf string
	// Log is told what an operator may want to know and no caller is told, never
	// per packet. Nil: nobody.
	Log func(format string, args ...any)
}

// A Driver opens networks whose gateway is a TCP/IP stack in the process.
type Driver struct{ cfg Config }

var _ vmnet.Driver = (*Driver)(nil)

// New returns a driver. It holds nothing open by itself.
func New(cfg Config) *Driver {
	cfg.Limits = cfg.Limits.withDefaults()
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
	info, err := grant(cfg)
	if err != nil {
		return nil, err
	}
	return open(d.cfg, info)
}

// grant checks cfg and fills in every default.
func grant(cfg vmnet.NetworkConfig) (vmnet.NetworkInfo, error) {
	info := vmnet.NetworkInfo{NetworkConfig: cfg}
	if err := supported(cfg); err != nil {
		return info, err
	}
	if cfg.MTU == 0 {
		info.MTU = vmnet.DefaultMTU
	}
	if info.MTU < vmnet.MinMTU || info.MTU > vmnet.MaxMTU {
		return info, fmt.Errorf("mtu %d: want %d to %d: %w", cfg.MTU, vmnet.MinMTU, vmnet.MaxMTU, vmnet.InvalidArgument)
	}
	if cfg.Domain == "" {
		info.Domain = DefaultDomain
	}
	if cfg.Layer2 {
		if cfg.Subnet.IsValid() || cfg.Subnet6.IsValid() || cfg.Gateway.IsValid() || cfg.HostLoopback {
			return info, fmt.Errorf("subnet, gateway or host loopback of a layer-2 network: want none: %w", vmnet.InvalidArgument)
		}
		return info, nil
	}
	return info, errors.Join(grantSubnet(&info), grantSubnet6(&info))
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

func grantSubnet(info *vmnet.NetworkInfo) error {
	p := info.Subnet
	switch {
	case !p.IsValid() && info.Subnet6.IsValid():
		if info.Gateway.IsValid() {
			return fmt.Errorf("gateway %s: want none without a subnet: %w", info.Gateway, vmnet.InvalidArgument)
		}
		return grantResolvers(info)
	case !p.IsValid():
		return fmt.Errorf("subnet: driver netstack needs one: %w", vmnet.InvalidArgument)
	case !p.Addr().Is4():
		return fmt.Errorf("subnet %s: want IPv4: %w", p, vmnet.InvalidArgument)
	case p.Bits() > 30 || p.Bits() < 8:
		return fmt.Errorf("subnet %s: want a prefix of 8 to 30 bits: %w", p, vmnet.InvalidArgument)
	case p.Masked() != p:
		return fmt.Errorf("subnet %s: want it masked, %s: %w", p, p.Masked(), vmnet.InvalidArgument)
	case forbidden(p.Addr()):
		return fmt.Errorf("subnet %s: not for guests: %w", p, vmnet.InvalidArgument)
	}
	if !info.Gateway.IsValid() {
		info.Gateway = vmnet.FirstAddr(p)
	}
	first, last := vmnet.FirstAddr(p), vmnet.LastAddr(p)
	if g := info.Gateway; !p.Contains(g) || g.Less(first) || last.Less(g) {
		return fmt.Errorf("gateway %s: want an address of %s to %s: %w", g, first, last, vmnet.InvalidArgument)
	}
	if info.HostLoopback {
		if info.Gateway == last {
			return fmt.Errorf("gateway %s: the last address is the host's loopback: %w", last, vmnet.InvalidArgument)
		}
		info.HostLoopbackAddr = last
	}
	return grantResolvers(info)
}

func grantSubnet6(info *vmnet.NetworkInfo) error {
	p := info.Subnet6
	switch {
	case p == netip.Prefix{}:
		return nil
	case !p.IsValid() || !p.Addr().Is6() || p.Bits() != 64 || p.Masked() != p:
		return fmt.Errorf("subnet6 %s: want a masked IPv6 prefix of 64 bits: %w", p, vmnet.InvalidArgument)
	case forbidden6(p.Addr()) || forbidden6(vmnet.LastAddr(p)):
		return fmt.Errorf("subnet6 %s: not for guests: %w", p, vmnet.InvalidArgument)
	}
	if info.HostLoopback {
		info.HostLoopbackAddr6 = vmnet.LastAddr(p)
	}
	return nil
}

func grantResolvers(info *vmnet.NetworkInfo) error {
	for _, r := range info.Resolvers {
		if !r.IsValid() || r.Port() == 0 {
			return fmt.Errorf("resolver %s: want address and port: %w", r, vmnet.InvalidArgument)
		}
	}
	return nil
}
