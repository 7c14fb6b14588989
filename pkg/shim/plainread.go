package shim

import (
	"encoding/json"

	"github.com/vmnet-cni/vmnet/internal/plainjson"
)

// readAnswer decodes data into out.
func readAnswer(data []byte, out any) error {
	if r, ok := out.(plainReader); ok {
		if v, ok := plainjson.Parse(data); ok && r.readPlain(v) {
			return nil
		}
	}
	return json.Unmarshal(data, out)
}

// readPlain implements plainReader.
func (a *Attachment) readPlain(v plainjson.Value) bool {
	var read Attachment
	ok := v.Members(read.readMember)
	if ok {
		*a = read
	}
	return ok
}

func (a *Attachment) readMember(key string, v plainjson.Value) bool {
	switch key {
	case "network":
		return v.Text(&a.Network)
	case "containerID":
		return v.Text(&a.ContainerID)
	case "ifname":
		return v.Text(&a.IfName)
	case "driver":
		return v.Text(&a.Driver)
	case "mode":
		return v.Into(&a.Mode)
	case "mac":
		return v.Text(&a.MAC)
	case "mtu":
		return v.Int(&a.MTU)
	case "maxFrameSize":
		return v.Int(&a.MaxFrameSize)
	case "offload":
		return v.Bool(&a.Offload)
	case "vnetHeader":
		return v.Int(&a.VnetHeader)
	case "frames":
		return v.Text(&a.Frames)
	case "ips":
		return readList(v, &a.IPs, (*IP).readMember)
	case "routes":
		return readList(v, &a.Routes, (*Route).readMember)
	case "dns":
		return v.Members(a.DNS.readMember)
	case "hostname":
		return v.Text(&a.Hostname)
	case "guard":
		return v.Members(a.Guard.readMember)
	case "names":
		return v.Texts(&a.Names)
	}
	return a.readState(key, v)
}

// readState reads what readMember leaves.
func (a *Attachment) readState(key string, v plainjson.Value) bool {
	switch key {
	case "socketPath":
		return v.Text(&a.SocketPath)
	case "dgramSocketPath":
		return v.Text(&a.DgramSocketPath)
	case "streamSocketPath":
		return v.Text(&a.StreamSocketPath)
	case "hostInterfaces":
		return v.Texts(&a.HostInterfaces)
	case "sandbox":
		return v.Text(&a.Sandbox)
	case "owner":
		var n uint64
		ok := v.Uint(&n, 32)
		a.Owner = uint32(n)
		return ok
	case "created":
		return a.Created.UnmarshalJSON(v) == nil
	case "peer":
		return v.Members(a.Peer.readMember)
	case "counters":
		return v.Members(a.Counters.readMember)
	case "problem":
		return v.Text(&a.Problem)
	}
	return false // forwards, bandwidth and seen are rare
}

// readList sets *dst to the list v of objects.
func readList[T any](v plainjson.Value, dst *[]T, member func(*T, string, plainjson.Value) bool) bool {
	list := []T{}
	ok := v.Elements(func(v plainjson.Value) bool {
		var e T
		ok := v.Members(func(key string, v plainjson.Value) bool { return member(&e, key, v) })
		list = append(list, e)
		return ok
	})
	*dst = list
	return ok
}

func (ip *IP) readMember(key string, v plainjson.Value) bool {
	switch key {
	case "address":
		return v.Into(&ip.Address)
	case "gateway":
		return v.Into(&ip.Gateway)
	}
	return false
}

func (r *Route) readMember(key string, v plainjson.Value) bool {
	switch key {
	case "dst":
		return v.Into(&r.Dst)
	case "gw":
		return v.Into(&r.GW)
	}
	return false
}

func (d *DNS) readMember(key string, v plainjson.Value) bool {
	switch key {
	case "nameservers":
		return v.Texts(&d.Nameservers)
	case "domain":
		return v.Text(&d.Domain)
	case "search":
		return v.Texts(&d.Search)
	case "options":
		return v.Texts(&d.Options)
	}
	return false
}

func (g *Guard) readMember(key string, v plainjson.Value) bool {
	set := func(dst **bool) bool {
		*dst = new(bool)
		return v.Bool(*dst)
	}
	switch key {
	case "mac":
		return set(&g.MAC)
	case "ip":
		return set(&g.IP)
	case "dhcp":
		return set(&g.DHCP)
	case "ra":
		return set(&g.RA)
	}
	return false // lists are rare
}

func (p *Peer) readMember(key string, v plainjson.Value) bool {
	switch key {
	case "connected":
		return v.Bool(&p.Connected)
	case "via":
		return v.Text(&p.Via)
	case "since":
		return p.Since.UnmarshalJSON(v) == nil
	case "goneSince":
		return p.GoneSince.UnmarshalJSON(v) == nil
	}
	return false
}

func (c *Counters) readMember(key string, v plainjson.Value) bool {
	switch key {
	case "fromGuest":
		return v.Members(c.FromGuest.readMember)
	case "toGuest":
		return v.Members(c.ToGuest.readMember)
	case "answered":
		return v.Uint(&c.Answered, 64)
	}
	return false
}

func (d *Direction) readMember(key string, v plainjson.Value) bool {
	switch key {
	case "frames":
		return v.Uint(&d.Frames, 64)
	case "bytes":
		return v.Uint(&d.Bytes, 64)
	case "queuedBytes":
		return v.Uint(&d.QueuedBytes, 64)
	case "drops":
		d.Drops = map[string]uint64{}
		return v.Members(func(reason string, v plainjson.Value) bool {
			var n uint64
			ok := v.Uint(&n, 64)
			d.Drops[reason] = n
			return ok
		})
	}
	return false
}

// readPlain implements plainReader.
func (n *Network) readPlain(v plainjson.Value) bool {
	var read Network
	ok := v.Members(read.readMember)
	if ok {
		*n = read
	}
	return ok
}

func (n *Network) readMember(key string, v plainjson.Value) bool {
	switch key {
	case "gatewayMAC":
		return v.Text(&n.GatewayMAC)
	case "hostLoopbackAddr":
		return v.Into(&n.HostLoopbackAddr)
	case "hostLoopbackAddr6":
		return v.Into(&n.HostLoopbackAddr6)
	case "hostInterfaces":
		return v.Texts(&n.HostInterfaces)
	case "attachments":
		return v.Int(&n.Attachments)
	case "leases":
		return v.Int(&n.Leases)
	case "free":
		return v.Int(&n.Free)
	}
	return n.NetworkSpec.readMember(key, v)
}

func (n *NetworkSpec) readMember(key string, v plainjson.Value) bool {
	switch key {
	case "name":
		return v.Text(&n.Name)
	case "mode":
		return v.Into(&n.Mode)
	case "driver":
		return v.Text(&n.Driver)
	case "subnet":
		return v.Into(&n.Subnet)
	case "gateway":
		return v.Into(&n.Gateway)
	case "subnet6":
		return v.Into(&n.Subnet6)
	case "ipv4":
		return v.Text(&n.IPv4)
	case "ipv6":
		return v.Text(&n.IPv6)
	case "rangeEnd":
		return v.Into(&n.RangeEnd)
	case "uplink":
		return v.Text(&n.Uplink)
	case "mtu":
		return v.Int(&n.MTU)
	case "isolated":
		return v.Bool(&n.Isolated)
	case "offload":
		return v.Bool(&n.Offload)
	case "ipam":
		return v.Text(&n.IPAM)
	case "hostLoopback":
		return v.Bool(&n.HostLoopback)
	case "dns":
		return v.Members(n.DNS.readMember)
	}
	return false
}
