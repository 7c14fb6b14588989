package ipam

import (
	"errors"
	"fmt"
	"net/netip"
)

// The subnets that ChooseSubnet tries: the third byte of 192.168.x.0/24.
const (
	firstSubnet = 127
	lastSubnet  = 223
)

// ErrNoSubnet says that every subnet that ChooseSubnet tries is in use.
var ErrNoSubnet = errors.New("192.168.127.0/24 to 192.168.223.0/24 all overlap addresses or routes in use; set subnet")

// ChooseSubnet returns the first of 192.168.127.0/24, 192.168.128.0/24 …
// 192.168.223.0/24 that overlaps none of inUse, or ErrNoSubnet. Invalid prefixes
// in inUse count for nothing, IPv4-mapped IPv6 ones as the IPv4 prefix.
func ChooseSubnet(inUse []netip.Prefix) (netip.Prefix, error) {
	for n := firstSubnet; n <= lastSubnet; n++ {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168, byte(n), 0}), 24)
		if !overlapsAny(p, inUse) {
			return p, nil
		}
	}
	return netip.Prefix{}, fmt.Errorf("choose subnet: %w", ErrNoSubnet)
}

func overlapsAny(p netip.Prefix, others []netip.Prefix) bool {
	for _, o := range others {
		if o.Addr().Is4In6() && o.Bits() >= 96 {
			o = netip.PrefixFrom(o.Addr().Unmap(), o.Bits()-96)
		}
		if p.Overlaps(o) {
			return true
		}
	}
	return false
}
