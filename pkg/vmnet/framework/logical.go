//go:build (darwin || linux) && (amd64 || arm64)

package framework

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"unsafe"

	"github.com/ebitengine/purego"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// created is the answer of a call that makes a logical network.
type created struct {
	ref  uintptr
	call string // the call that failed, or the last one
	code vmnet.Code
	err  error // the configuration cannot be expressed
}

// createLogical makes the network object and compares its subnet with the one
// asked for. All calls of the configuration are limited together.
func (n *network) createLogical(ctx context.Context) error {
	opts := n.drv.cfg.Options[n.cfg.Name]
	return n.adopt(ctx, callCreate, func() created {
		config, c := n.configure(opts)
		defer n.drv.api.release(config)
		if c.err != nil || c.code != success {
			return c
		}
		return n.made(callCreate, func(status *uint32) uintptr {
			r, _, _ := purego.SyscallN(n.drv.api.netCreate, config, uintptr(unsafe.Pointer(status)))
			return r
		})
	})
}

// made runs a call that returns a reference and sets a status.
func (n *network) made(call string, fn func(status *uint32) uintptr) created {
	status := new(uint32)
	*status = uint32(vmnet.Failure) // in case the call says nothing
	ref := fn(status)
	c := created{ref: ref, call: call, code: vmnet.Code(*status)}
	if c.code == success && ref == 0 {
		c.code = vmnet.Failure
	}
	return c
}

// adopt has make make the network, and keeps and checks what it made.
func (n *network) adopt(ctx context.Context, call string, make func() created) error {
	d := n.drv
	c, err := do(ctx, &d.guard, call, d.cfg.StartTimeout, make, func(c created) { d.api.release(c.ref) })
	if err != nil {
		return err
	}
	if c.err != nil {
		return c.err
	}
	if c.code != success {
		d.api.release(c.ref)
		return refusal{call: c.call, code: c.code, root: d.root, modern: true, what: n.what(), mode: n.cfg.Mode}.explain()
	}
	d.privileged.Store(true)
	n.mu.Lock()
	n.ref = c.ref
	n.mu.Unlock()
	if err := n.readBack(); err != nil {
		return errors.Join(err, n.drop())
	}
	return nil
}

// configure makes the configuration; the caller releases it, also when it fails.
func (n *network) configure(opts NetworkOptions) (uintptr, created) {
	a := n.drv.api
	c := n.made("vmnet_network_configuration_create", func(status *uint32) uintptr {
		r, _, _ := purego.SyscallN(a.cfgCreate, uintptr(modeNumber[n.cfg.Mode]), uintptr(unsafe.Pointer(status)))
		return r
	})
	config := c.ref
	c.ref = 0
	if c.code != success {
		return config, c
	}
	n.disable(config, len(opts.Reservations) != 0)
	for _, step := range []func(uintptr, NetworkOptions) created{n.setSubnet, n.setLink, n.setForwards, n.setReservations} {
		if c := step(config, opts); c.err != nil || c.code != success {
			return config, c
		}
	}
	return config, c
}

// disable switches off what the shim does itself or the network must not have.
// What a host network has no use for is left alone.
func (n *network) disable(config uintptr, dhcp bool) {
	a, cfg := n.drv.api, n.cfg
	off := func(fn uintptr, when bool) {
		if when && fn != 0 {
			purego.SyscallN(fn, config)
		}
	}
	shared := cfg.Mode == vmnet.Shared
	off(a.cfgNoDHCP, !dhcp)
	off(a.cfgNoDNS, cfg.Layer2)
	off(a.cfgNoNAT44, cfg.Layer2 && shared)
	off(a.cfgNoNAT66, shared && (cfg.Layer2 || !cfg.Subnet6.IsValid()))
	off(a.cfgNoRA, true) // the shim advertises, or nobody does
}

// step runs one call that sets something. What args point at is kept where it is
// until the call returns, as for purego.SyscallN.
//
//go:uintptrescapes
func step(call string, fn uintptr, args ...uintptr) created {
	if fn == 0 {
		return created{call: call, err: missingLogical(call)}
	}
	r, _, _ := purego.SyscallN(fn, args...)
	return created{call: call, code: vmnet.Code(r)}
}

// setSubnet passes the address after the base: with the base itself the system
// can miss an overlap, or fail at the first interface (liminavm/limina; the Rust
// crate vmnet).
func (n *network) setSubnet(config uintptr, _ NetworkOptions) created {
	a, c := n.drv.api, created{code: success}
	if p := n.cfg.Subnet; p.IsValid() {
		addr, bits := inAddr(vmnet.FirstAddr(p)), inAddr(mask(p))
		c = step("vmnet_network_configuration_set_ipv4_subnet", a.cfgSubnet, config,
			uintptr(unsafe.Pointer(addr)), uintptr(unsafe.Pointer(bits)))
	}
	if p := n.cfg.Subnet6; p.IsValid() && c.code == success && c.err == nil {
		prefix := p.Addr().As16()
		c = step("vmnet_network_configuration_set_ipv6_prefix", a.cfgPrefix, config, uintptr(unsafe.Pointer(&prefix)), uintptr(p.Bits()))
	}
	return c
}

// setLink sets MTU and uplink.
func (n *network) setLink(config uintptr, opts NetworkOptions) created {
	a, c := n.drv.api, created{code: success}
	if n.cfg.MTU != vmnet.DefaultMTU {
		c = step("vmnet_network_configuration_set_mtu", a.cfgMTU, config, uintptr(n.cfg.MTU))
	}
	if opts.Uplink != "" && c.code == success && c.err == nil {
		c = step("vmnet_network_configuration_set_external_interface", a.cfgUplink, config, uintptr(unsafe.Pointer(cString(opts.Uplink))))
	}
	return c
}

// setForwards adds the rules. The internal port comes before the external one,
// other than in the call for an interface and in the header's comment (Kernova).
func (n *network) setForwards(config uintptr, opts NetworkOptions) created {
	c := created{code: success}
	for _, f := range opts.Forwards {
		if err := checkForward(f); err != nil {
			return created{err: err}
		}
		family, addr := internal(f)
		c = step("vmnet_network_configuration_add_port_forwarding_rule", n.drv.api.cfgForward, config,
			uintptr(f.Protocol), family, uintptr(f.Internal.Port()), uintptr(f.External.Port()), uintptr(unsafe.Pointer(addr)))
		if c.err != nil || c.code != success {
			return c
		}
	}
	return c
}

// setReservations adds the addresses that the system's DHCP server keeps.
func (n *network) setReservations(config uintptr, opts NetworkOptions) created {
	c := created{code: success}
	for _, r := range opts.Reservations {
		if len(r.MAC) != 6 || !r.Addr.Is4() {
			return created{err: invalid("reservation %s for %s: want a MAC of 6 bytes and an IPv4 address", r.Addr, r.MAC)}
		}
		mac := [6]byte(r.MAC)
		c = step("vmnet_network_configuration_add_dhcp_reservation", n.drv.api.cfgReserve, config,
			uintptr(unsafe.Pointer(&mac)), uintptr(unsafe.Pointer(inAddr(r.Addr))))
		if c.err != nil || c.code != success {
			return c
		}
	}
	return c
}

// readBack compares the granted subnet with the one asked for, or keeps it. The
// system returns the gateway's address in it, or the one it was given.
func (n *network) readBack() error {
	a := n.drv.api
	var addr, bits [4]byte
	purego.SyscallN(a.netSubnet, n.ref, uintptr(unsafe.Pointer(&addr)), uintptr(unsafe.Pointer(&bits)))
	granted := prefixOf(netip.AddrFrom4(addr), netip.AddrFrom4(bits))
	if n.cfg.Layer2 {
		return nil
	}
	if !granted.IsValid() {
		return fmt.Errorf("vmnet_network_get_ipv4_subnet: %v with mask %v is no subnet: %w", addr, bits, vmnet.Failure)
	}
	if err := compare(n.cfg.Subnet, granted); err != nil {
		return err
	}
	n.grant(granted, vmnet.FirstAddr(granted), netip.Addr{})
	return n.readBack6()
}

// readBack6 is readBack for IPv6, where a prefix was asked for.
func (n *network) readBack6() error {
	a := n.drv.api
	if !n.cfg.Subnet6.IsValid() || a.netPrefix == 0 {
		return nil
	}
	var prefix [16]byte
	bits := new(uint8)
	purego.SyscallN(a.netPrefix, n.ref, uintptr(unsafe.Pointer(&prefix)), uintptr(unsafe.Pointer(bits)))
	return compare(n.cfg.Subnet6, netip.PrefixFrom(netip.AddrFrom16(prefix), int(*bits)).Masked())
}
