package tap

import (
	"context"
	"fmt"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// Config configures a Driver.
type Config struct {
	// Owner tells what one driver made from what others on the machine made, now
	// and after a crash: the path of the shim's state directory. It is hashed.
	Owner string
	// ResolvConf is the file with the host's resolvers, read for each query that
	// the gateway forwards. Empty: /etc/resolv.conf.
	ResolvConf string
	// Log is told what an operator may want to know and no caller is told, never
	// per packet. Nil: nobody.
	Log func(format string, args ...any)
}

// A Driver opens networks that the Linux kernel moves the frames of.
type Driver struct {
	cfg Config
	system
}

var (
	_ vmnet.Driver  = (*Driver)(nil)
	_ vmnet.Sweeper = (*Driver)(nil)
)

// New returns a driver. It holds nothing open by itself, and works on the network
// namespace of the thread that calls it, so a program stays in one.
func New(cfg Config) *Driver {
	if cfg.Log == nil {
		cfg.Log = func(string, ...any) {}
	}
	if cfg.ResolvConf == "" {
		cfg.ResolvConf = "/etc/resolv.conf"
	}
	return &Driver{cfg: cfg, system: newSystem(cfg.Owner)}
}

// Open implements vmnet.Driver. HostLoopback is not supported: guests reach the
// host at the gateway's address. Offload concerns devices with Config.Tap or
// Config.VnetHeader: the kernel has large segments for nobody who does not know the
// header that tells of them.
func (d *Driver) Open(ctx context.Context, cfg vmnet.NetworkConfig) (vmnet.Network, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	info, err := grant(cfg)
	if err != nil {
		return nil, err
	}
	n, err := d.open(ctx, info)
	if err != nil {
		return nil, err
	}
	return n, nil
}

// Sweep implements vmnet.Sweeper. A process without the privilege to make
// anything has left nothing: that is no error.
func (d *Driver) Sweep(ctx context.Context) error {
	if err := d.sweep(ctx); err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	return nil
}
