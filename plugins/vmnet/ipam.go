package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/types/create"

	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// A lease is what an IPAM plugin gave. The guest gets exactly this.
type lease struct {
	Addr, Addr6       netip.Prefix // of IPv4 and IPv6, with lengths; one may be zero
	Gateway, Gateway6 netip.Addr   // zero: none
	Routes            []shim.Route
	DNS               shim.DNS

	routes []*types.Route // as the plugin wrote them
}

// ipam returns the delegate for addresses, or nil when the shim gives them, or
// nobody does.
func (c *call) ipam() (*delegate, error) {
	if c.conf.Delegate == "" {
		return nil, nil
	}
	path, err := findDelegate("ipam.type", c.conf.Delegate, c.getenv("CNI_PATH"))
	if err != nil {
		return nil, err
	}
	return &delegate{
		what: "ipam " + c.conf.Delegate, path: path,
		environ: c.environ, stdin: c.stdin, stderr: c.log.stderr,
	}, nil
}

// ipamRun has the IPAM plugin do the verb of this call, if there is one. GC,
// STATUS and CHECK need no lock: they are not of one attachment, or change
// nothing.
func (c *call) ipamRun() error {
	d, err := c.ipam()
	if d == nil || err != nil {
		return err
	}
	_, err = d.run(c.ctx, c.env.Command)
	return err
}

// ipamDel has the IPAM plugin release the addresses.
func (c *call) ipamDel(ctx context.Context) (err error) {
	d, err := c.ipam()
	if d == nil || err != nil {
		return err
	}
	lock, err := c.lockDelegate(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.unlock()) }()
	d.lock = lock.file
	_, err = d.run(ctx, "DEL")
	return err
}

// ipamAdd gets addresses from the IPAM plugin, if there is one, and adapts the
// network to them. After an error nothing is reserved: a DEL follows an ADD that
// failed, as the specification asks, or whose answer is of no use.
func (c *call) ipamAdd(want *wanted) (*lease, error) {
	d, err := c.ipam()
	if d == nil || err != nil {
		return nil, err
	}
	l, err := c.ipamAsk(d)
	if err == nil {
		err = l.fit(&c.conf.Spec, d.what)
	}
	if err == nil {
		err = want.given(l, d.what)
	}
	if err != nil {
		return nil, undoing(c.ctx, err, c.ipamDel)
	}
	return l, nil
}

func (c *call) ipamAsk(d *delegate) (l *lease, err error) {
	lock, err := c.lockDelegate(c.ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, lock.unlock()) }()
	d.lock = lock.file
	out, err := d.run(c.ctx, "ADD")
	if err != nil {
		return nil, err
	}
	res, err := decodeIPAM(out, c.conf.CNIVersion)
	if err != nil {
		return nil, errorf(codeDecode, "%s: ADD printed %s: %w", d.what, show(string(out)), err)
	}
	return newLease(res, d.what)
}

// decodeIPAM reads the abbreviated result of an IPAM plugin. One without a
// version has that of the configuration.
func decodeIPAM(out []byte, said string) (*types100.Result, error) {
	var head struct {
		CNIVersion string `json:"cniVersion"`
	}
	if err := json.Unmarshal(out, &head); err != nil {
		return nil, err
	}
	if head.CNIVersion == "" {
		head.CNIVersion = said
		var top map[string]json.RawMessage
		if err := json.Unmarshal(out, &top); err != nil || top == nil {
			return nil, fmt.Errorf("want a result of cniVersion %s", said)
		}
		top["cniVersion"], _ = json.Marshal(said) // a string
		out, _ = json.Marshal(top)                // of what was just decoded
	}
	if err := noNulls(out); err != nil {
		return nil, err
	}
	res, err := create.Create(head.CNIVersion, out)
	if err != nil {
		return nil, err
	}
	return types100.NewResultFromResult(res)
}

// dnsFor is what the shim shall tell this guest beyond the network's DNS: what
// the runtime says, and the IPAM plugin's where the configuration says nothing.
func (l *lease) dnsFor(conf, runtime shim.DNS) shim.DNS {
	if l == nil {
		return runtime
	}
	d := runtime
	if len(d.Nameservers) == 0 && len(conf.Nameservers) == 0 {
		d.Nameservers = l.DNS.Nameservers
	}
	if d.Domain == "" && conf.Domain == "" {
		d.Domain = l.DNS.Domain
	}
	if len(d.Search) == 0 && len(conf.Search) == 0 {
		d.Search = l.DNS.Search
	}
	if len(d.Options) == 0 && len(conf.Options) == 0 {
		d.Options = l.DNS.Options
	}
	return d
}

// prefixOf converts n; false for what is no address with a contiguous mask.
func prefixOf(n net.IPNet) (netip.Prefix, bool) {
	a := addrOf(n.IP)
	ones, bits := n.Mask.Size()
	if bits == 128 && a.Is4() {
		ones -= 96
	}
	p := netip.PrefixFrom(a, ones)
	return p, p.IsValid() && bits != 0
}

// addrOf converts ip; nil becomes the zero Addr.
func addrOf(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}
