//go:build (darwin || linux) && (amd64 || arm64)

package framework

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"syscall"
	"time"
	"unsafe"

	"github.com/ebitengine/purego"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

var _ vmnet.Forwarder = (*device)(nil)

// AddForward implements vmnet.Forwarder. The rules serve connections that arrive
// from other machines, not those of the host to itself (measured by
// liminavm/limina). Those of a logical network may have to be given when it is
// opened: see NetworkOptions.
func (d *device) AddForward(ctx context.Context, f vmnet.Forward) error {
	list, err := d.Forwards(ctx)
	if err != nil {
		return err
	}
	if err := checkForward(f); err != nil {
		return err
	}
	for _, o := range list {
		if o.Protocol == f.Protocol && o.External.Port() == f.External.Port() && o.Internal.Addr().Is4() == f.Internal.Addr().Is4() {
			return fmt.Errorf("forward %s: taken by %s: %w", f, o, syscall.EADDRINUSE)
		}
	}
	a, ip := d.net.drv.api, have(d.net.drv.api.addIPRule)
	if !ip && !f.Internal.Addr().Is4() {
		return &UnsupportedError{Feature: "forwarding to IPv6", Symbol: "vmnet_interface_add_ip_port_forwarding_rule", Since: "11.0"}
	}
	family, addr := internal(f)
	return d.rule(ctx, "vmnet_interface_add_ip_port_forwarding_rule", f, func(block *blockLiteral) vmnet.Code {
		if ip {
			r, _, _ := purego.SyscallN(a.addIPRule, d.ifc, uintptr(f.Protocol), uintptr(f.External.Port()), family,
				uintptr(unsafe.Pointer(addr)), uintptr(f.Internal.Port()), uintptr(unsafe.Pointer(block)))
			return vmnet.Code(r)
		}
		// struct in_addr by value: one word whose bytes are in network order.
		b := f.Internal.Addr().Unmap().As4()
		r, _, _ := purego.SyscallN(a.addRule, d.ifc, uintptr(f.Protocol), uintptr(f.External.Port()),
			uintptr(binary.NativeEndian.Uint32(b[:])), uintptr(f.Internal.Port()), uintptr(unsafe.Pointer(block)))
		return vmnet.Code(r)
	})
}

// RemoveForward implements vmnet.Forwarder.
func (d *device) RemoveForward(ctx context.Context, f vmnet.Forward) error {
	list, err := d.Forwards(ctx)
	if err != nil {
		return err
	}
	for _, o := range list {
		if o.Protocol != f.Protocol || o.External.Port() != f.External.Port() {
			continue
		}
		if err := d.remove(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

func (d *device) remove(ctx context.Context, f vmnet.Forward) error {
	a := d.net.drv.api
	family, _ := internal(f)
	return d.rule(ctx, "vmnet_interface_remove_ip_port_forwarding_rule", f, func(block *blockLiteral) vmnet.Code {
		var r uintptr
		if have(a.removeIPRule) {
			r, _, _ = purego.SyscallN(a.removeIPRule, d.ifc, uintptr(f.Protocol), uintptr(f.External.Port()), family, uintptr(unsafe.Pointer(block)))
		} else {
			r, _, _ = purego.SyscallN(a.removeRule, d.ifc, uintptr(f.Protocol), uintptr(f.External.Port()), uintptr(unsafe.Pointer(block)))
		}
		return vmnet.Code(r)
	})
}

// rule runs a call that changes a rule, and waits for its handler.
func (d *device) rule(ctx context.Context, call string, f vmnet.Forward, fn func(*blockLiteral) vmnet.Code) error {
	answer := make(statusChan, 1)
	h := newHandle(answer)
	defer dropHandle(h)
	if err := d.control(ctx, call, func() vmnet.Code { return fn(d.net.drv.api.block(bridge.done, h)) }); err != nil {
		return fmt.Errorf("forward %s: %w", f, err)
	}
	status, err := await(ctx, d, call, answer)
	if err == nil {
		err = check(call, vmnet.Code(status))
	}
	if err != nil {
		return fmt.Errorf("forward %s: %w", f, err)
	}
	return nil
}

// control runs a call that names the interface, unless the device is closed.
func (d *device) control(ctx context.Context, call string, fn func() vmnet.Code) error {
	code, err := do(ctx, &d.net.drv.guard, call, d.net.drv.cfg.StartTimeout, func() vmnet.Code {
		d.ctlMu.Lock()
		defer d.ctlMu.Unlock()
		if d.closed.Load() {
			return 0 // no status of the framework's
		}
		return fn()
	}, nil)
	if err != nil {
		return err
	}
	if code == 0 {
		return vmnet.ErrClosed
	}
	return check(call, code)
}

// await waits for what a handler brings.
func await[T any](ctx context.Context, d *device, call string, answer <-chan T) (T, error) {
	limit := d.net.drv.cfg.StartTimeout
	timer := time.NewTimer(limit)
	defer timer.Stop()
	var zero T
	select {
	case v := <-answer:
		return v, nil
	case <-timer.C:
		return zero, &HungError{Call: call + ": handler", After: limit}
	case <-ctx.Done():
		return zero, fmt.Errorf("%s: no answer yet: %w", call, ctx.Err())
	}
}

// Forwards implements vmnet.Forwarder.
func (d *device) Forwards(ctx context.Context) ([]vmnet.Forward, error) {
	if d.closed.Load() {
		return nil, vmnet.ErrClosed
	}
	a := d.net.drv.api
	if have(a.addIPRule, a.removeIPRule, a.getIPRules, a.ipRuleDetails) {
		list, err := d.rules(ctx, afINET)
		if err != nil {
			return nil, err
		}
		list6, err := d.rules(ctx, afINET6)
		return append(list, list6...), err
	}
	if have(a.addRule, a.removeRule, a.getRules, a.ruleDetails) {
		return d.rules(ctx, 0)
	}
	return nil, &UnsupportedError{Feature: "port forwarding", Symbol: "vmnet_interface_add_port_forwarding_rule", Since: "10.15"}
}

// A rulesCall is a question for rules under way; family is 0 for the older call,
// which knows IPv4 only.
type rulesCall struct {
	api    *api
	family uintptr
	answer chan []vmnet.Forward // has room for one
}

// rules asks for the rules of one family.
func (d *device) rules(ctx context.Context, family uintptr) ([]vmnet.Forward, error) {
	a := d.net.drv.api
	q := &rulesCall{api: a, family: family, answer: make(chan []vmnet.Forward, 1)}
	h := newHandle(q)
	defer dropHandle(h)
	const call = "vmnet_interface_get_ip_port_forwarding_rules"
	err := d.control(ctx, call, func() vmnet.Code {
		block := a.block(bridge.rules, h)
		var r uintptr
		if family == 0 {
			r, _, _ = purego.SyscallN(a.getRules, d.ifc, uintptr(unsafe.Pointer(block)))
		} else {
			r, _, _ = purego.SyscallN(a.getIPRules, d.ifc, family, uintptr(unsafe.Pointer(block)))
		}
		return vmnet.Code(r)
	})
	if err != nil {
		return nil, err
	}
	return await(ctx, d, call, q.answer)
}

// answered copies the borrowed array of rules; NULL is none.
func (q *rulesCall) answered(array uintptr) {
	var list []vmnet.Forward
	if array != 0 {
		n, _, _ := purego.SyscallN(q.api.arrayCount, array)
		for i := range n {
			rule, _, _ := purego.SyscallN(q.api.arrayValue, array, i)
			if f, ok := q.details(rule); ok {
				list = append(list, f)
			}
		}
	}
	q.answer <- list
}

// details reads one rule; ports are in host order, the address is not.
func (q *rulesCall) details(rule uintptr) (vmnet.Forward, bool) {
	v := new(struct {
		protocol           uint8
		external, internal uint16
		addr               [16]byte
	})
	protocol, external, internal, addr := &v.protocol, &v.external, &v.internal, &v.addr
	var r uintptr
	if q.family == 0 {
		r, _, _ = purego.SyscallN(q.api.ruleDetails, rule, uintptr(unsafe.Pointer(protocol)), uintptr(unsafe.Pointer(external)),
			uintptr(unsafe.Pointer(addr)), uintptr(unsafe.Pointer(internal)))
	} else {
		r, _, _ = purego.SyscallN(q.api.ipRuleDetails, rule, uintptr(unsafe.Pointer(protocol)), uintptr(unsafe.Pointer(external)),
			q.family, uintptr(unsafe.Pointer(addr)), uintptr(unsafe.Pointer(internal)))
	}
	if vmnet.Code(r) != success {
		return vmnet.Forward{}, false
	}
	ip := netip.AddrFrom16(v.addr)
	if q.family != afINET6 {
		ip = netip.AddrFrom4([4]byte(v.addr[:4]))
	}
	return vmnet.Forward{
		Protocol: vmnet.Protocol(v.protocol),
		External: netip.AddrPortFrom(netip.Addr{}, v.external),
		Internal: netip.AddrPortFrom(ip, v.internal),
	}, true
}
