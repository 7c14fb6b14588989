package dropin

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"runtime"

	"github.com/google/uuid"

	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// settings are what the options of either family of programs say of a network.
type settings struct {
	mode     vmnet.Mode
	uplink   string
	gateway  netip.Addr // of the network; the addresses of guests begin with the next
	end      netip.Addr // the last address of guests
	mask     netip.Addr
	prefix6  netip.Addr // the first address of a /64
	layer2   uuid.UUID  // identifies a network of guests alone
	isolated bool
	offload  bool
	dhcp     dhcpServer
}

// defaultMask is the mask when none is given.
var defaultMask = netip.AddrFrom4([4]byte{255, 255, 255, 0})

// request makes settings a request to the shim. Programs with the same settings
// share a network, as they share a bridge on macOS.
func (s settings) request() (shim.AttachRequest, error) {
	var r shim.AttachRequest
	n := &r.Network
	n.Mode, n.Uplink, n.Isolated, n.Offload = s.mode, s.uplink, s.isolated, s.offload
	if s.mode == vmnet.Bridged {
		n.IPAM = shim.IPAMNone // addresses come from the LAN
		if runtime.GOOS == "linux" {
			n.Driver = shim.DriverTap
		}
	}
	if s.layer2 != uuid.Nil {
		n.IPAM = shim.IPAMNone
	}
	if s.dhcp == dhcpSystem && n.IPAM == shim.IPAMBuiltin {
		n.IPAM = shim.IPAMSystem
	}
	if s.gateway.IsValid() {
		if err := s.subnet(&r); err != nil {
			return r, err
		}
	}
	// The real programs look at no frame: guests may use another MAC than the
	// interface's, and addresses that they set by hand. Where they are among
	// themselves, one of them may be their DHCP server and router.
	off, alone := false, n.IPAM != shim.IPAMNone
	r.Guard = shim.Guard{MAC: &off, IP: &off, DHCP: &alone, RA: &alone}
	if s.prefix6.IsValid() {
		n.Subnet6 = netip.PrefixFrom(s.prefix6, 64)
	}
	return r, s.name(n)
}

func (s settings) subnet(r *shim.AttachRequest) error {
	bits, err := maskBits(s.mask)
	if err != nil {
		return err
	}
	subnet := netip.PrefixFrom(s.gateway, bits).Masked()
	first := s.gateway.Next()
	switch {
	case !subnet.Contains(s.end):
		return fmt.Errorf("last address %s: is not in the gateway's subnet %s", s.end, subnet)
	case s.end.Less(first):
		return fmt.Errorf("last address %s: want one after the gateway %s", s.end, s.gateway)
	}
	r.Network.Subnet, r.Network.Gateway = subnet, s.gateway
	if r.Network.IPAM == shim.IPAMSystem {
		r.Network.RangeEnd = s.end
		return nil
	}
	r.Ranges = []shim.Range{{First: first, Last: s.end}}
	return nil
}

// maskBits returns the length of the prefix that mask stands for.
func maskBits(mask netip.Addr) (int, error) {
	m := mask.As4()
	v := uint32(m[0])<<24 | uint32(m[1])<<16 | uint32(m[2])<<8 | uint32(m[3])
	bits := 0
	for v&(1<<31) != 0 {
		v <<= 1
		bits++
	}
	if v != 0 || bits == 0 || bits > 30 {
		return 0, fmt.Errorf("mask %s: want one from 128.0.0.0 to 255.255.255.252", mask)
	}
	return bits, nil
}

// name names the network: vmnet-shared for shared mode as it is, with -bootpd where
// the system's DHCP server gives addresses, and with eight digits when options say
// more.
func (s settings) name(n *shim.NetworkSpec) error {
	n.Name = "vmnet-" + s.mode.String()
	if n.IPAM == shim.IPAMSystem {
		n.Name += bootpdSuffix
	}
	if (s == settings{mode: s.mode, dhcp: s.dhcp}) {
		return nil
	}
	text, err := json.Marshal([]any{n, s.layer2})
	if err != nil {
		return err
	}
	sum := sha256.Sum256(text)
	n.Name += "-" + hex.EncodeToString(sum[:4])
	return nil
}

// ipv4Flag is an IPv4 address on the command line.
type ipv4Flag struct{ addr *netip.Addr }

func (f ipv4Flag) String() string {
	if f.addr == nil || !f.addr.IsValid() {
		return ""
	}
	return f.addr.String()
}

func (f ipv4Flag) Set(text string) error {
	a, err := netip.ParseAddr(text)
	if err != nil || !a.Is4() {
		return fmt.Errorf("want an IPv4 address")
	}
	*f.addr = a
	return nil
}

func (f ipv4Flag) Type() string { return "IP" }

// prefix6Flag is a unique local prefix on the command line, as "fd00:1:2:3::".
type prefix6Flag struct{ addr *netip.Addr }

func (f prefix6Flag) String() string { return ipv4Flag(f).String() }

func (f prefix6Flag) Set(text string) error {
	a, err := netip.ParseAddr(text)
	if err != nil || !a.Is6() || a.Zone() != "" || a.As16()[0] != 0xfd || netip.PrefixFrom(a, 64).Masked().Addr() != a {
		return fmt.Errorf("want a unique local prefix, as fd00:1:2:3:: for a /64")
	}
	*f.addr = a
	return nil
}

func (f prefix6Flag) Type() string { return "PREFIX::" }

// modeFlag is one of the three modes.
type modeFlag struct{ mode *vmnet.Mode }

func (f modeFlag) String() string {
	if f.mode == nil {
		return ""
	}
	return f.mode.String()
}

func (f modeFlag) Set(text string) error {
	if err := f.mode.UnmarshalText([]byte(text)); err != nil || text != f.mode.String() {
		return fmt.Errorf("want host, shared or bridged")
	}
	return nil
}

func (f modeFlag) Type() string { return "MODE" }
