package server

import (
	"net"
	"os"
	"sync"
	"time"

	"github.com/vmnet-cni/vmnet/internal/bootpd"
	"github.com/vmnet-cni/vmnet/internal/observe"
	"github.com/vmnet-cni/vmnet/pkg/relay"
	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// stageSeen notes which addresses a guest uses that the shim gives none.
func stageSeen(a *attachment, mac net.HardwareAddr) (relay.Stage, error) {
	a.watch = observe.New(mac)
	return a.watch, nil
}

// seen is what is known of the addresses of a guest that the shim gives none: what
// its frames told, and what the system's DHCP server wrote down.
func (s *Server) seen(a *attachment) (list []shim.SeenAddress) {
	if a.watch == nil {
		return nil
	}
	for _, x := range a.watch.Sightings() {
		list = append(list, shim.SeenAddress{Address: x.Addr, Via: x.Via, First: x.First, Last: x.Last, Count: x.Count})
	}
	mac, err := net.ParseMAC(a.rec.MAC)
	if err != nil {
		return list
	}
	id := a.watch.Identifier()
	for _, l := range s.bootpd.read(s.cfg.BootpdLeases) {
		if l.Is(mac, id) {
			// The newest is first; older ones of the same client are expired.
			return append(list, shim.SeenAddress{Address: l.Addr, Via: shim.SeenBootpd, Name: l.Name, Expires: l.Expires})
		}
	}
	return list
}

// bootpdCache keeps the leases of the system's DHCP server until the file changes.
type bootpdCache struct {
	mu    sync.Mutex // guards all following fields
	mtime time.Time
	size  int64
	list  []bootpd.Lease
}

// read returns the leases, without those of a file that cannot be read: they are
// beside the point of whoever asks.
func (c *bootpdCache) read(path string) []bootpd.Lease {
	if path == "" {
		return nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if info.ModTime().Equal(c.mtime) && info.Size() == c.size {
		return c.list
	}
	list, err := bootpd.ReadFile(path)
	if err != nil {
		return nil
	}
	c.mtime, c.size, c.list = info.ModTime(), info.Size(), list
	return list
}
