package server

import (
	"time"

	"github.com/vmnet-cni/vmnet/pkg/ipam"
	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// maxQuarantine bounds how long an address may be kept from others.
const maxQuarantine = 30 * 24 * time.Hour

// normalizeLease checks how the request wants its address chosen, and leaves out
// what is the default.
func normalizeLease(r *shim.AttachRequest) error {
	l := &r.Lease
	if r.Network.IPAM != shim.IPAMBuiltin && *l != (shim.LeasePolicy{}) {
		return shim.Invalidf("lease", "", "want no such key: ipam %q does not allocate", r.Network.IPAM)
	}
	if l.StickyKey != "" && !isPlain(l.StickyKey, shim.MaxStickyKey) {
		return shim.Invalidf("lease.stickyKey", l.StickyKey, "want printable text of at most %d bytes", shim.MaxStickyKey)
	}
	if l.Quarantine != "" {
		d, err := time.ParseDuration(l.Quarantine)
		if err != nil || d < 0 || d > maxQuarantine {
			return shim.Invalidf("lease.quarantine", l.Quarantine, `want a duration of at most %s, as "10m"`, maxQuarantine)
		}
		if l.Quarantine = d.String(); d == shim.DefaultQuarantine {
			l.Quarantine = ""
		}
	}
	switch l.WhenFull {
	case shim.WhenFullReuse:
		l.WhenFull = ""
	case "", shim.WhenFullRefuse:
	default:
		return shim.Invalidf("lease.whenFull", l.WhenFull, "want %q or %q", shim.WhenFullReuse, shim.WhenFullRefuse)
	}
	return nil
}

// leaseRequest asks for an address of each of the pools for an attachment.
func leaseRequest(r *attachmentRecord, pools []ipam.Pool) ipam.Request {
	l := r.Request.Lease
	quarantine, err := time.ParseDuration(l.Quarantine)
	if err != nil { // empty: normalizeLease left nothing else
		quarantine = shim.DefaultQuarantine
	}
	return ipam.Request{
		Key: r.Key, Pools: pools, MAC: r.MAC, StickyKey: l.StickyKey,
		Quarantine: quarantine, WholeQuarantine: l.WhenFull == shim.WhenFullRefuse,
	}
}
