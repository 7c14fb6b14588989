package vmnettest

import (
	"errors"
	"net/netip"
	"slices"

	"github.com/vmnet-cni/vmnet/internal/port"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

func forwardCases() []testCase {
	return []testCase{
		{"ability", false, "Interface.Forwarder returns the device's ability, or an error that wraps errors.ErrUnsupported", forwardAbility},
		{"rules", false, "AddForward takes a port once, Forwards lists it, RemoveForward frees it and is no error when there is none", forwardRules},
	}
}

func forwardAbility(k *kit) {
	d := k.device(k.open(nil), vmnet.Config{})
	_, can := d.(vmnet.Forwarder)
	i := vmnet.NewInterface("forward", d)
	f, err := i.Forwarder()
	if can && (f == nil || err != nil) {
		k.Errorf("the device forwards, but: %v", err)
	}
	if !can && !errors.Is(err, errors.ErrUnsupported) {
		k.Errorf("the device does not forward, but: %v, %v", f, err)
	}
}

func forwardRules(k *kit) {
	i := k.one()
	f, err := i.Forwarder()
	if err != nil {
		k.Skipf("%v", err)
	}
	if !i.Info().Gateway.IsValid() {
		k.Skip("the harness's network has no IPv4 subnet")
	}
	rule := vmnet.Forward{
		Protocol: vmnet.TCP,
		External: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port.Free(k, 1)[0]),
		Internal: netip.AddrPortFrom(i.Info().Gateway.Next(), 80),
	}
	err = f.AddForward(k.ctx, rule)
	if errors.Is(err, errors.ErrUnsupported) {
		k.Skipf("add %s: %v", rule, err)
	}
	if err != nil {
		k.Fatalf("add %s: %v", rule, err)
	}
	if err := f.AddForward(k.ctx, rule); err == nil {
		k.Errorf("add %s again: no error", rule)
	}
	rules, err := f.Forwards(k.ctx)
	if err != nil || !slices.Contains(rules, rule) {
		k.Errorf("list: %v, %v, want %s among them", rules, err, rule)
	}
	for range 2 {
		if err := f.RemoveForward(k.ctx, rule); err != nil {
			k.Errorf("remove %s: %v", rule, err)
		}
	}
	if rules, err := f.Forwards(k.ctx); err != nil || slices.Contains(rules, rule) {
		k.Errorf("list after removal: %v, %v", rules, err)
	}
	if err := f.AddForward(k.ctx, rule); err != nil {
		k.Errorf("add %s after removal: %v", rule, err)
	}
}
