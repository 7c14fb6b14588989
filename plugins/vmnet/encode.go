package main

import (
	"bytes"
	"encoding/json"
	"slices"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/vmnet-cni/vmnet/internal/plainjson"
)

// encodeResult returns res as JSON of the version said. Every version that the
// plugin takes can be converted to; a result may lose mtu and socketPath.
func encodeResult(res *types100.Result, said string) ([]byte, error) {
	if said == "1.0.0" || said == "1.1.0" { // which differ in nothing
		if doc, err := plainResult(res, said); err == nil {
			return doc, nil
		}
	}
	v, err := res.GetAsVersion(said)
	if err != nil {
		return nil, errorf(codeVersion, "result: convert to cniVersion %s: %w", said, err)
	}
	return json.MarshalIndent(v, "", "  ")
}

// plainResult writes what the library would, without its detour over reflection: it
// sorts the keys.
func plainResult(res *types100.Result, said string) ([]byte, error) {
	var o plainjson.Object
	o.Must("cniVersion", said)
	if d := res.DNS; !d.IsEmpty() {
		var e plainjson.Object
		e.Text("domain", d.Domain)
		e.Texts("nameservers", d.Nameservers)
		e.Texts("options", d.Options)
		e.Texts("search", d.Search)
		o.Object("dns", &e)
	}
	if slices.Contains(res.Interfaces, nil) || slices.Contains(res.IPs, nil) || slices.Contains(res.Routes, nil) {
		return nil, errNotPlain
	}
	o.Objects("interfaces", len(res.Interfaces), func(i int, e *plainjson.Object) {
		x := res.Interfaces[i]
		e.Text("mac", x.Mac)
		e.Int("mtu", x.Mtu)
		e.Must("name", x.Name)
		e.Text("pciID", x.PciID)
		e.Text("sandbox", x.Sandbox)
		e.Text("socketPath", x.SocketPath)
	})
	o.Objects("ips", len(res.IPs), func(i int, e *plainjson.Object) {
		x := res.IPs[i]
		e.Must("address", x.Address.String())
		if len(x.Gateway) > 0 {
			e.Marshaled("gateway", x.Gateway)
		}
		e.Pointed("interface", x.Interface)
	})
	o.Objects("routes", len(res.Routes), func(i int, e *plainjson.Object) { writeRoute(e, res.Routes[i]) })
	doc, err := o.Bytes()
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = json.Indent(&out, doc, "", "  ")
	return out.Bytes(), err
}

// errNotPlain leaves a result to the library.
var errNotPlain = errorf(codeInternal, "result: null in a list")

func writeRoute(e *plainjson.Object, r *types.Route) {
	e.Int("advmss", r.AdvMSS)
	e.Must("dst", r.Dst.String())
	if len(r.GW) > 0 {
		e.Marshaled("gw", r.GW)
	}
	e.Int("mtu", r.MTU)
	e.Int("priority", r.Priority)
	e.Pointed("scope", r.Scope)
	e.Pointed("table", r.Table)
}
