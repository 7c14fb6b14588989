package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// examine is view for a caller that wants to know whether the attachment works
// (CNI CHECK): it also asks what takes longer to find out. Nothing is changed.
func (s *Server) examine(ctx context.Context, a *attachment) shim.Attachment {
	v := s.view(a)
	if a.ifc == nil || v.Problem != "" {
		return v
	}
	// No frames: an interface that has ended says so all the same.
	if _, err := a.ifc.WriteBatch(nil); errors.Is(err, net.ErrClosed) || a.relay.Ended() {
		v.Problem = "relay: it or its interface has ended: no frame moves"
		return v
	}
	here, missing, err := a.forwardsInPlace(ctx)
	v.Forwards = here
	switch {
	case err != nil:
		v.Problem = fmt.Sprintf("forwards: %v", err)
	case len(missing) > 0:
		v.Problem = fmt.Sprintf("forward %s: the driver has it no more", missing[0])
	}
	return v
}

// forwardsInPlace returns which of the forwards asked for the driver has, and
// which it has not.
func (a *attachment) forwardsInPlace(ctx context.Context) (here, missing []shim.Forward, err error) {
	wanted, addrs := a.rec.Request.Forwards, guestAddrs(a)
	if len(wanted) == 0 || len(addrs) == 0 {
		return wanted, nil, nil
	}
	forwarder, err := a.ifc.Forwarder()
	if err != nil {
		return nil, wanted, err
	}
	rules, err := forwarder.Forwards(ctx)
	if err != nil {
		return nil, wanted, err
	}
	for _, f := range wanted {
		rule := ruleOf(f, forwardTo(f, addrs))
		if slices.ContainsFunc(rules, func(r vmnet.Forward) bool { return sameRule(r, rule) }) {
			here = append(here, f)
		} else {
			missing = append(missing, f)
		}
	}
	return here, missing, nil
}

// sameRule compares rules. All addresses of the host have two spellings, and a
// driver may tell the one that it was not given.
func sameRule(a, b vmnet.Forward) bool {
	host := isOne(a.External.Addr()) == isOne(b.External.Addr()) &&
		(!isOne(a.External.Addr()) || a.External.Addr().Unmap() == b.External.Addr().Unmap())
	return a.Protocol == b.Protocol && host && a.External.Port() == b.External.Port() && a.Internal == b.Internal
}
