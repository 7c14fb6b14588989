package tap

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// grant checks cfg and fills in every default.
func grant(cfg vmnet.NetworkConfig) (vmnet.NetworkInfo, error) {
	if err := supported(cfg); err != nil {
		return vmnet.NetworkInfo{}, err
	}
	cfg.Layer2 = cfg.Layer2 || cfg.Mode == vmnet.Bridged // IP is between the guests and the LAN
	return cfg.Grant(usable)
}

func supported(cfg vmnet.NetworkConfig) error {
	switch {
	case cfg.Mode > vmnet.Bridged:
		return fmt.Errorf("mode %s: want one of %q: %w", cfg.Mode, vmnet.Modes(), vmnet.InvalidArgument)
	case cfg.Mode == vmnet.Bridged && cfg.Uplink == "":
		return fmt.Errorf("uplink: mode bridged needs the name of an interface: %w", vmnet.InvalidArgument)
	case cfg.Mode != vmnet.Bridged && cfg.Uplink != "":
		return fmt.Errorf("uplink %q of a %s network: want none: %w", cfg.Uplink, cfg.Mode, vmnet.InvalidArgument)
	case cfg.HostLoopback:
		return fmt.Errorf("host loopback: driver tap has no address for it: %w", errors.ErrUnsupported)
	}
	return nil
}

// reserved are the prefixes that no host on a network may have (RFC 6890).
var reserved = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("224.0.0.0/3"),
	netip.MustParsePrefix("::/8"), netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("ff00::/8"),
}

func usable(p netip.Prefix) bool {
	for _, r := range reserved {
		if r.Overlaps(p) {
			return false
		}
	}
	return true
}
