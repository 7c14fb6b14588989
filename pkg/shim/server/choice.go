package server

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/ipam"
	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// choose fills in what asked leaves open: the subnets. They are those of granted
// or, without that, of the last time that the network was open, or else new ones.
func (s *Server) choose(ctx context.Context, asked shim.NetworkSpec, granted *shim.NetworkSpec) (shim.NetworkSpec, error) {
	want := asked
	need4 := !want.Subnet.IsValid() && want.IPAM != shim.IPAMNone && want.Mode != vmnet.Bridged && want.IPv4 != shim.IPNone
	need6 := !want.Subnet6.IsValid() && mayHaveIPv6(want) && want.IPAM == shim.IPAMBuiltin && want.IPv6 != shim.IPNone
	if !need4 && !need6 {
		return want, nil
	}
	if err := s.choosing.lock(ctx); err != nil {
		return want, fmt.Errorf("network %s: choose subnet: %w", want.Name, err)
	}
	defer s.choosing.unlock()
	var last shim.NetworkSpec
	if granted != nil { // it comes back as it was, also without IPv6
		last, need6 = *granted, need6 && granted.Subnet6.IsValid()
	} else if rec := s.kept(want.Name); rec != nil {
		last = rec.Granted
	}
	if need4 && last.Subnet.IsValid() {
		want.Subnet, want.Gateway = last.Subnet, last.Gateway
	} else if need4 && s.cfg.SharedLeases && want.IPAM == shim.IPAMBuiltin {
		return want, shim.Invalidf("network.subnet", "", "want one: machines that share their leases would each choose for themselves")
	} else if need4 {
		subnet, err := s.chooseSubnet(ctx)
		if err != nil {
			return want, &shim.Error{Code: shim.CodeExhausted, Key: "network.subnet", Message: fmt.Sprintf("network %s: %v", want.Name, err)}
		}
		want.Subnet, want.Gateway = subnet, vmnet.FirstAddr(subnet)
	}
	if need6 {
		if want.Subnet6 = last.Subnet6; !want.Subnet6.IsValid() {
			want.Subnet6 = chooseSubnet6(want.Name, s.subnets())
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.choices[want.Name]; !ok {
		// So that the next choice does not take the same before this one is kept.
		s.choices[want.Name] = networkRecord{Granted: want}
	}
	return want, nil
}

// chooseSubnet returns a subnet that neither the host nor another network uses.
// When those that closed networks keep are in the way, the ones not used for the
// longest time are given up.
func (s *Server) chooseSubnet(ctx context.Context) (netip.Prefix, error) {
	var host []netip.Prefix
	if s.cfg.InUse != nil {
		var err error
		if host, err = s.cfg.InUse(ctx); err != nil {
			return netip.Prefix{}, fmt.Errorf("look at the host's addresses and routes: %w", err)
		}
	}
	for {
		subnet, err := ipam.ChooseSubnet(append(s.subnets(), host...))
		if !errors.Is(err, ipam.ErrNoSubnet) {
			return subnet, err
		}
		forgotten, ferr := s.forgetOldest(ctx)
		if ferr != nil || !forgotten {
			return netip.Prefix{}, errors.Join(err, ferr)
		}
	}
}

// subnets returns those of open networks and those that closed ones keep.
func (s *Server) subnets() []netip.Prefix {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []netip.Prefix
	for _, c := range s.choices {
		list = append(list, c.Granted.Subnet, c.Granted.Subnet6)
	}
	for _, n := range s.nets {
		if n.open != nil {
			list = append(list, n.open.granted.Subnet, n.open.granted.Subnet6)
		}
	}
	return list
}

// kept returns the choices of a network that was open before, or nil.
func (s *Server) kept(name string) *networkRecord {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := s.choices[name]; ok && c.Version != 0 {
		return &c
	}
	return nil
}

// forgetChoice drops a choice that was never kept.
func (s *Server) forgetChoice(want shim.NetworkSpec) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := s.choices[want.Name]; ok && c.Version == 0 {
		delete(s.choices, want.Name)
	}
}

// keepChoice writes the network's state file, and forgets another network when
// there are too many.
func (s *Server) keepChoice(ctx context.Context, o *openNetwork) error {
	rec := networkRecord{Version: stateVersion, Asked: o.asked, Granted: o.granted, Owner: o.owner, Used: time.Now().UTC()}
	file := s.state.networkFile(o.granted.Name)
	if err := replaceJSON(file, rec); err != nil {
		return fmt.Errorf("network %s: keep its choices: %w", o.granted.Name, err)
	}
	s.late.note(file)
	s.mu.Lock()
	s.choices[o.granted.Name] = rec
	tooMany := len(s.choices) > 4*s.cfg.Limits.Networks
	s.mu.Unlock()
	if !tooMany {
		return nil
	}
	_, err := s.forgetOldest(ctx)
	return err
}

// forgetOldest forgets the closed network that was not used for the longest
// time, and, in a store of this machine's own, every address that was released in it. It returns false when every
// network is in use or has attachments that are broken.
func (s *Server) forgetOldest(ctx context.Context) (bool, error) {
	s.mu.Lock()
	used := map[string]bool{}
	for k := range s.atts {
		used[k.Network] = true
	}
	oldest := ""
	for name, c := range s.choices {
		if s.nets[name] == nil && !used[name] && c.Version != 0 && (oldest == "" || c.Used.Before(s.choices[oldest].Used)) {
			oldest = name
		}
	}
	delete(s.choices, oldest)
	s.mu.Unlock()
	if oldest == "" {
		return false, nil
	}
	s.cfg.Log.WithField("network", oldest).Info("subnet of unused network given up")
	if err := removeFile(s.state.networkFile(oldest)); err != nil {
		return false, err
	}
	if s.cfg.SharedLeases {
		return true, nil // what other machines remember of it is not ours to forget
	}
	if err := s.cfg.Leases.Forget(ctx, oldest); err != nil && !errors.Is(err, ipam.ErrConflict) {
		return false, err // a conflict: an attachment is just being made in it
	}
	return true, nil
}
