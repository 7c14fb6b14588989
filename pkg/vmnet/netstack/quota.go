package netstack

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/internal/quota"
)

// An owner is a guest, or a gateway for itself.
type owner struct {
	g     *gateway
	guest netip.Addr // zero: the gateway
}

// quartered is a quota of which one guest has a quarter at most.
func quartered(limit int) *quota.Quota[owner] { return quota.New[owner](limit, max(1, limit/4)) }

// defaultSockets is half of the descriptors that the process may have: the other half
// is for attachments.
func defaultSockets() int {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
		return 1 << 19 // as if there were no limit
	}
	return max(1, int(min(r.Cur, 1<<20)/2))
}
