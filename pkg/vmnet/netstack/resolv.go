package netstack

import (
	"net/netip"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// maxResolvers is how many resolvers are asked for one query. libc's limit is 3.
const maxResolvers = 3

// resolvers tells which resolvers to ask.
type resolvers struct {
	fixed []netip.AddrPort // not empty: always these
	path  string

	mu      sync.Mutex // guards all following fields
	checked time.Time
	modTime time.Time
	size    int64
	list    []netip.AddrPort
}

// get returns the resolvers in the order to ask them. The host's file is looked
// at once a second at most, and read when it changed.
func (r *resolvers) get(now time.Time) []netip.AddrPort {
	if len(r.fixed) > 0 {
		return r.fixed
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Sub(r.checked) < time.Second && r.list != nil {
		return r.list
	}
	r.checked = now
	st, err := os.Stat(r.path)
	if err != nil {
		// libc asks the local host when there is no file (resolv.conf(5)).
		r.list, r.modTime, r.size = localResolver(), time.Time{}, 0
		return r.list
	}
	if r.list == nil || !st.ModTime().Equal(r.modTime) || st.Size() != r.size {
		r.list = readResolvers(r.path)
		r.modTime, r.size = st.ModTime(), st.Size()
	}
	return r.list
}

func localResolver() []netip.AddrPort {
	return []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), dnsPort)}
}

// readResolvers reads a resolv.conf(5).
func readResolvers(path string) []netip.AddrPort {
	conf, err := dns.ClientConfigFromFile(path)
	if err != nil {
		return localResolver()
	}
	port, err := strconv.ParseUint(conf.Port, 10, 16)
	if err != nil {
		port = dnsPort
	}
	var list []netip.AddrPort
	for _, s := range conf.Servers {
		if a, err := netip.ParseAddr(s); err == nil && len(list) < maxResolvers {
			list = append(list, netip.AddrPortFrom(a, uint16(port)))
		}
	}
	if len(list) == 0 {
		return localResolver()
	}
	return list
}
