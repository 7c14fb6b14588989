package server

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"

	"github.com/vmnet-cni/vmnet/internal/observe"
	"github.com/vmnet-cni/vmnet/pkg/ipam"
	"github.com/vmnet-cni/vmnet/pkg/relay"
	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// An attachment is what the map of attachments holds. All but undo and given never
// changes: whoever finds an attachment in the map may read it without a lock.
type attachment struct {
	rec     attachmentRecord
	ifc     *vmnet.Interface // nil when broken
	dev     vmnet.Device     // ifc's, for its abilities; nil when broken
	relay   *relay.Relay     // nil when broken
	problem string           // why it is broken, or ""
	leaving bool             // broken, since its DELETE could not be done to the end
	net     *openNetwork     // nil when broken
	watch   *observe.Stage   // of a guest that the shim gives no address; else nil
	router  vmnet.Router     // of a guest with IPv6; zero when broken or not found yet
	sockets []boundSocket
	held    *holding // nil without a file store
	names   []string // in full, of the network's DNS

	asked *atomic.Int64 // when the guest was asked whether it is there, in nanoseconds; nil when broken

	undo  undoList // guarded by the key's lock, as is given
	given int      // sockets that clients gave and that wait for peers
}

// view is what the API tells of the attachment.
func (s *Server) view(a *attachment) shim.Attachment {
	r := a.rec
	v := shim.Attachment{
		Network: r.Network, ContainerID: r.ContainerID, IfName: r.IfName,
		Driver: r.Granted.Driver, Mode: r.Granted.Mode,
		MAC: r.MAC, MTU: r.Granted.MTU, Offload: r.Granted.Offload, VnetHeader: a.vnetHeader(), Frames: r.Request.Frames,
		IPs: []shim.IP{}, DNS: a.dns(), Hostname: r.Request.Hostname,
		DgramSocketPath:  s.cfg.Dirs.Socket(r.Network, r.ContainerID, r.IfName, shim.FramesDgram),
		StreamSocketPath: s.cfg.Dirs.Socket(r.Network, r.ContainerID, r.IfName, shim.FramesStream),
		Sandbox:          r.Request.Sandbox, Owner: r.Owner, Created: r.Created, Problem: a.problem,
	}
	v.SocketPath = v.DgramSocketPath
	switch v.Frames {
	case shim.FramesStream:
		v.SocketPath = v.StreamSocketPath
	case shim.FramesTap: // nobody could read at a socket what the guest reads
		v.SocketPath, v.DgramSocketPath, v.StreamSocketPath = "", "", ""
	}
	if r.Addr.IsValid() {
		v.IPs = append(v.IPs, shim.IP{Address: r.Addr, Gateway: r.gateway()})
	}
	if r.Addr6.IsValid() {
		v.IPs = append(v.IPs, shim.IP{Address: r.Addr6, Gateway: a.gateway6()})
	}
	if len(v.IPs) > 0 {
		v.Routes = a.routes()
	}
	v.Bandwidth, v.Guard, v.Names = r.Request.Bandwidth, r.Request.Guard, a.names
	if a.ifc != nil {
		v.Forwards = r.Request.Forwards
		info := a.ifc.Info()
		v.MTU, v.MaxFrameSize, v.HostInterfaces = info.MTU, a.maxFrame(), info.HostInterfaces
	}
	if v.Problem == "" {
		v.Problem = a.missingSocket()
	}
	v.Seen = s.seen(a)
	if a.relay != nil {
		p, st := a.peer(), a.relay.Stats()
		v.Peer = shim.Peer{Connected: p.Connected, Via: p.Via, Since: p.Since, GoneSince: p.Gone}
		if r.Plugged != 0 {
			v.Peer = shim.Peer{Connected: true, Via: shim.ViaNetNS}
		}
		v.Counters = countersOf(a.relay, st)
	}
	return v
}

// countersOf are the counters, with what waits now.
func countersOf(r *relay.Relay, st relay.Stats) shim.Counters {
	direction := func(d relay.Direction, queued int) shim.Direction {
		return shim.Direction{Frames: d.Frames, Bytes: d.Bytes, Drops: d.Drops, QueuedBytes: uint64(max(queued, 0))}
	}
	from, to := r.Queued()
	return shim.Counters{FromGuest: direction(st.FromGuest, from), ToGuest: direction(st.ToGuest, to), Answered: st.Answered}
}

// askEvery is how often, at most, a guest is sent a frame to see whether it is
// there.
const askEvery = 5 * time.Second

// peer tells who is the attachment's peer. The system does not tell the end of a
// datagram socket's other side, so whoever wants to know has it asked.
func (a *attachment) peer() relay.PeerInfo {
	p := a.relay.Peer()
	last, now := a.asked.Load(), time.Now().UnixNano()
	if !p.Connected || now >= last && now-last < int64(askEvery) || !a.asked.CompareAndSwap(last, now) {
		return p
	}
	return a.relay.CheckPeer()
}

// visible returns the attachments that the caller sees, sorted.
func (s *Server) visible(who caller) []*attachment {
	s.mu.Lock()
	var all []*attachment
	for _, a := range s.atts {
		if who.may(a.rec.Owner) {
			all = append(all, a)
		}
	}
	s.mu.Unlock()
	slices.SortFunc(all, func(a, b *attachment) int { return compareKeys(a.rec.Key, b.rec.Key) })
	return all
}

// find returns the attachment if it is there and the caller sees it.
func (s *Server) find(who caller, k ipam.Key) *attachment {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.atts[k]; a != nil && who.may(a.rec.Owner) {
		return a
	}
	return nil
}

func compareKeys(a, b ipam.Key) int {
	return cmp.Or(cmp.Compare(a.Network, b.Network), cmp.Compare(a.ContainerID, b.ContainerID), cmp.Compare(a.IfName, b.IfName))
}

func notFound(k ipam.Key) error {
	return shim.Errorf(shim.CodeNotFound, "attachment %s: no such attachment of this user", k)
}
