package shim

import (
	"encoding/json"
	"net/netip"

	"github.com/vmnet-cni/vmnet/internal/plainjson"
)

// What is in this file writes and reads the bodies of the plugin's requests as
// encoding/json does, for values as they usually are: see package plainjson. Tests
// compare the two for every field.

// A plainWriter is a request that writes itself.
type plainWriter interface{ plainJSON() ([]byte, error) }

// A plainReader is an answer that reads itself, if it is plain; else it stays as it
// is.
type plainReader interface{ readPlain(plainjson.Value) bool }

// requestBody returns in as JSON.
func requestBody(in any) ([]byte, error) {
	if w, ok := in.(plainWriter); ok {
		return w.plainJSON()
	}
	return json.Marshal(in)
}

// plainJSON implements plainWriter.
func (r AttachRequest) plainJSON() ([]byte, error) {
	var o, network plainjson.Object
	r.Network.write(&network)
	o.Text("requestID", r.RequestID)
	o.Object("network", &network)
	o.Text("frames", r.Frames)
	o.True("vnetHeader", r.VnetHeader)
	o.Text("mac", r.MAC)
	o.Texts("ips", r.IPs)
	if len(r.Ranges) > 0 {
		o.Any("ranges", r.Ranges)
	}
	if r.Lease != (LeasePolicy{}) {
		o.Any("lease", r.Lease)
	}
	writeAddr(&o, "gateway", r.Gateway)
	writeAddr(&o, "gateway6", r.Gateway6)
	if len(r.Routes) > 0 {
		o.Any("routes", r.Routes)
	}
	o.Text("hostname", r.Hostname)
	r.DNS.write(&o, "dns")
	o.Text("sandbox", r.Sandbox)
	if len(r.Forwards) > 0 {
		o.Any("forwards", r.Forwards)
	}
	if r.Bandwidth != (Bandwidth{}) {
		o.Any("bandwidth", r.Bandwidth)
	}
	if g := r.Guard; g.MAC != nil || g.IP != nil || g.DHCP != nil || g.RA != nil || g.Allow != nil || g.Deny != nil {
		o.Any("guard", g)
	}
	o.Texts("aliases", r.Aliases)
	return o.Bytes()
}

func (n NetworkSpec) write(o *plainjson.Object) {
	o.Must("name", n.Name)
	o.Marshaled("mode", n.Mode)
	o.Text("driver", n.Driver)
	writePrefix(o, "subnet", n.Subnet)
	writeAddr(o, "gateway", n.Gateway)
	writePrefix(o, "subnet6", n.Subnet6)
	o.Text("ipv4", n.IPv4)
	o.Text("ipv6", n.IPv6)
	writeAddr(o, "rangeEnd", n.RangeEnd)
	o.Text("uplink", n.Uplink)
	o.Int("mtu", n.MTU)
	o.True("isolated", n.Isolated)
	o.True("offload", n.Offload)
	o.Text("ipam", n.IPAM)
	o.True("hostLoopback", n.HostLoopback)
	n.DNS.write(o, "dns")
}

// write adds d unless it is zero: lists that are empty and not nil are not.
func (d DNS) write(o *plainjson.Object, key string) {
	if d.Nameservers == nil && d.Domain == "" && d.Search == nil && d.Options == nil {
		return
	}
	var e plainjson.Object
	e.Texts("nameservers", d.Nameservers)
	e.Text("domain", d.Domain)
	e.Texts("search", d.Search)
	e.Texts("options", d.Options)
	o.Object(key, &e)
}

func writeAddr(o *plainjson.Object, key string, a netip.Addr) {
	if a != (netip.Addr{}) {
		o.Marshaled(key, a)
	}
}

func writePrefix(o *plainjson.Object, key string, p netip.Prefix) {
	if p != (netip.Prefix{}) {
		o.Marshaled(key, p)
	}
}
