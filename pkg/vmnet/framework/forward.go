package framework

import (
	"errors"
	"fmt"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// Address families as Darwin numbers them; the framework's ABI has them also
// where this runs against a stand-in.
const (
	afINET  = 2
	afINET6 = 30
)

// checkForward refuses rules that the framework cannot have.
func checkForward(f vmnet.Forward) error {
	switch {
	case f.Protocol != vmnet.TCP && f.Protocol != vmnet.UDP:
		return fmt.Errorf("forward %s: only tcp and udp: %w", f, errors.ErrUnsupported)
	case f.External.Port() == 0 || f.Internal.Port() == 0:
		return invalid("forward %s: want ports from 1 to 65535", f)
	case !f.Internal.Addr().IsValid() || f.Internal.Addr().IsUnspecified():
		return invalid("forward %s: want the guest's address", f)
	case f.External.Addr().IsValid() && !f.External.Addr().IsUnspecified():
		return fmt.Errorf("forward %s: the framework listens on all addresses of the host, not on one: %w", f, errors.ErrUnsupported)
	}
	return nil
}

// internal returns the family and the bytes, in network order, of the guest's
// address.
func internal(f vmnet.Forward) (family uintptr, addr *byte) {
	a := f.Internal.Addr().Unmap()
	b := a.AsSlice()
	if a.Is4() {
		return afINET, &b[0]
	}
	return afINET6, &b[0]
}
