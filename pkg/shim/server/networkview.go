package server

import (
	"context"

	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// networksOf groups sorted attachments by their network.
func networksOf(atts []*attachment) [][]*attachment {
	var groups [][]*attachment
	for i, a := range atts {
		if i == 0 || atts[i-1].rec.Network != a.rec.Network {
			groups = append(groups, nil)
		}
		last := len(groups) - 1
		groups[last] = append(groups[last], a)
	}
	return groups
}

// networkView is what the API tells of the network of some attachments, to
// somebody who sees those only.
func (s *Server) networkView(ctx context.Context, group []*attachment) (shim.Network, error) {
	a := group[0]
	for _, other := range group {
		if other.net != nil {
			a = other
			break
		}
	}
	v := shim.Network{NetworkSpec: a.rec.Granted, Attachments: len(group)}
	if v.DNS = dnsOf(v.NetworkSpec); a.net != nil {
		v.HostLoopbackAddr, v.HostInterfaces = a.net.info.HostLoopbackAddr, a.net.info.HostInterfaces
		v.HostLoopbackAddr6 = a.net.info.HostLoopbackAddr6
	}
	if (v.Gateway.IsValid() || v.Subnet6.IsValid()) && (v.Driver == shim.DriverNetstack || v.Driver == shim.DriverTap) {
		v.GatewayMAC = vmnet.GatewayMAC(v.Name).String()
	}
	if a.net != nil && v.Subnet.IsValid() && v.IPAM == shim.IPAMBuiltin {
		u, err := s.cfg.Leases.Usage(ctx, a.net.pool())
		if err != nil {
			return v, err
		}
		elsewhere := s.ranged(v.Name)
		v.Leases, v.Free = u.Held+elsewhere, max(u.Free-elsewhere, 0)
	} else if a.net != nil && v.Subnet6.IsValid() && v.IPAM == shim.IPAMBuiltin {
		u, err := s.cfg.Leases.Usage(ctx, a.net.pool6())
		if err != nil {
			return v, err
		}
		v.Leases, v.Free = u.Held, u.Free
	}
	return v, nil
}

// ranged counts the attachments of a network whose addresses are of ranges of
// their own, and so not of the network's pool.
func (s *Server) ranged(network string) (count int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, a := range s.atts {
		if k.Network == network && len(a.rec.Request.Ranges) > 0 {
			count++
		}
	}
	return count
}
