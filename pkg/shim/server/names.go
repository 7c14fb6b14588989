package server

import (
	"cmp"
	"net"
	"net/netip"

	"github.com/vmnet-cni/vmnet/internal/names"
	"github.com/vmnet-cni/vmnet/internal/namestage"
	"github.com/vmnet-cni/vmnet/pkg/relay"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// makeNames makes the table of names that the relays of the network's guests answer
// from, where there is a gateway to ask and guests have addresses of ours.
func (o *openNetwork) makeNames() {
	g := o.granted
	if g.Mode == vmnet.Bridged || !tellsAddresses(g) || !g.Gateway.IsValid() && !g.Subnet6.IsValid() {
		return
	}
	o.info.Domain = cmp.Or(o.info.Domain, vmnet.DefaultDomain)
	o.names = names.New(o.info.Domain, g.Subnet, g.Subnet6)
	if o.names.Reserve(vmnet.NameGateway, g.Gateway, gateway6(g)) != nil {
		o.names = nil // the domain is no name
	}
}

// A tableNamer is a table of names as a vmnet.Namer.
type tableNamer struct{ table *names.Table }

// SetNames implements vmnet.Namer.
func (n tableNamer) SetNames(key string, list []string, addrs []netip.Addr) error {
	return n.table.Set(key, list, addrs)
}

// RemoveNames implements vmnet.Namer.
func (n tableNamer) RemoveNames(key string) { n.table.Remove(key) }

// stageNames answers queries for the network's own names.
func stageNames(a *attachment, _ net.HardwareAddr) (relay.Stage, error) {
	return namestage.New(a.net.names, a.rec.Granted.Gateway, gateway6(a.rec.Granted), a.gateway6()), nil
}
