package cni

import (
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/vmnet-cni/vmnet/conformance/cni/internal/double"
)

// A standIn is a double in a directory of its own.
type standIn struct {
	p    *probe
	name string
	dir  string
}

// doubleProgram is built where the target names none.
const doubleProgram = "github.com/vmnet-cni/vmnet/conformance/cni/internal/double/cmd"

// standIn makes a double. Its directory is for CNI_PATH.
func (p *probe) standIn(name string) *standIn {
	prog, err := p.doubles()
	if err != nil {
		p.stopf("doubles: %v", err)
	}
	d := &standIn{p: p, name: name, dir: filepath.Join(p.work, p.name())}
	if err := os.Mkdir(d.dir, 0o755); err != nil {
		p.stopf("doubles: %v", err)
	}
	if err := install(prog, filepath.Join(d.dir, name)); err != nil {
		p.stopf("doubles: %v", err)
	}
	return d
}

// doubles returns the doubles' program, built once a session.
func (s *session) doubles() (string, error) {
	if s.double != "" {
		return s.double, nil
	}
	s.double = s.target.Double
	if s.double == "" {
		s.double = filepath.Join(s.work, "double")
		out, err := exec.CommandContext(s.ctx, "go", "build", "-o", s.double, doubleProgram).CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("go build %s: %w: %s", doubleProgram, err, out)
		}
	}
	return s.double, nil
}

// install puts prog to path: a second name of the file where that is possible,
// since the process finds its directory by the name it is executed under.
func install(prog, path string) error {
	if os.Link(prog, path) == nil {
		return nil
	}
	src, err := os.Open(prog)
	if err != nil {
		return err
	}
	defer func() { _ = src.Close() }()
	dst, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(dst, src); err != nil {
		_ = dst.Close()
		return err
	}
	return dst.Close()
}

// behave says what the double does, by verb; a verb that is not named succeeds.
func (d *standIn) behave(verbs map[string]double.Behaviour) {
	if err := double.Control(d.dir, d.name, verbs); err != nil {
		d.p.stopf("doubles: %v", err)
	}
}

// calls returns the executions with the verb, or all for "".
func (d *standIn) calls(verb string) []double.Record {
	all, err := double.Records(d.dir, d.name)
	if err != nil {
		d.p.stopf("doubles: %v", err)
	}
	var some []double.Record
	for _, r := range all {
		if verb == "" || r.Command == verb {
			some = append(some, r)
		}
	}
	return some
}

// hide takes the program away, show brings it back.
func (d *standIn) hide() { d.rename(d.name, d.name+".hidden") }
func (d *standIn) show() { d.rename(d.name+".hidden", d.name) }

func (d *standIn) rename(from, to string) {
	if err := os.Rename(filepath.Join(d.dir, from), filepath.Join(d.dir, to)); err != nil {
		d.p.stopf("doubles: %v", err)
	}
}

// An ipamDouble is the double of an IPAM plugin.
type ipamDouble struct {
	*standIn
	next int
}

// ipam makes the double of an IPAM plugin that hands out addresses of the
// network's own subnet.
func (p *probe) ipam() *ipamDouble {
	d := &ipamDouble{standIn: p.standIn(double.IPAM)}
	d.verbs(nil)
	return d
}

// verbs sets what the double does; ADD gives a fresh address where verbs does not
// say otherwise.
func (d *ipamDouble) verbs(verbs map[string]double.Behaviour) {
	all := map[string]double.Behaviour{"ADD": {Result: d.result()}}
	for k, v := range verbs {
		all[k] = v
	}
	d.behave(all)
}

// result is the abbreviated result of an IPAM plugin (section 5).
func (d *ipamDouble) result() object {
	prefix, gateway := d.p.sample()
	d.next++
	ip := object{"address": netip.PrefixFrom(offset(prefix, 40+d.next), prefix.Bits()).String()}
	if gateway != "" {
		ip["gateway"] = gateway
	}
	return object{"ips": []any{ip}}
}

// offset returns the address n behind the first one of the network.
func offset(p netip.Prefix, n int) netip.Addr {
	a := p.Masked().Addr()
	for range n {
		a = a.Next()
	}
	return a
}

// attachment returns one whose configuration delegates to d.
func (d *ipamDouble) attachment(mods ...mod) *attachment {
	a := d.p.attachment(0, append([]mod{with("ipam", object{"type": d.name})}, mods...)...)
	a.path = d.p.path(d.dir)
	return a
}

// traits are what was found out about the plugin, each at most once a session.
type traits struct {
	delegation *string // why it does not delegate; "": it does
	subnet     *sampled
	argsRead   *bool
	collects   *bool
}

type sampled struct {
	prefix  netip.Prefix
	gateway string
}

// sample returns an address of the network, as an ADD gives it, and its gateway.
// A network without addresses gets one of the suite's.
func (s *session) sample() (netip.Prefix, string) {
	if s.subnet != nil {
		return s.subnet.prefix, s.subnet.gateway
	}
	s.subnet = &sampled{prefix: netip.MustParsePrefix("10.89.7.2/24"), gateway: "10.89.7.1"}
	s.quietly(func(p *probe) {
		a := p.attachment(0)
		a.add()
		for _, ip := range objects(a.parsed()["ips"]) {
			address, _ := ip["address"].(string)
			prefix, err := netip.ParsePrefix(address)
			if err != nil || !prefix.Addr().Is4() || prefix.Addr().IsLoopback() {
				continue
			}
			gateway, _ := ip["gateway"].(string)
			s.subnet = &sampled{prefix, gateway}
			return
		}
	})
	return s.subnet.prefix, s.subnet.gateway
}

// noDelegation returns why the plugin does not delegate to an IPAM plugin, or "".
// A plugin that names ipam as unsupported or invalid says so itself; any other
// failure is one of delegation.
func (p *probe) noDelegation() string {
	if p.delegation != nil {
		return *p.delegation
	}
	var why string
	if p.target.Kind == KindIPAM {
		why = "an IPAM plugin delegates to none"
	} else {
		p.quietly(func(q *probe) { why = q.tryDelegation() })
	}
	p.delegation = &why
	return why
}

func (p *probe) tryDelegation() string {
	d := p.ipam()
	o := d.attachment().add()
	if len(d.calls("ADD")) > 0 {
		return ""
	}
	if o.exit == 0 {
		return "the plugin does not execute ipam.type: it delegates to none"
	}
	if e, why := o.errorDoc(); why == "" && (e.Code == 2 || e.Code == 7) && strings.Contains(e.text(), "ipam") {
		return fmt.Sprintf("the plugin refuses ipam.type with code %d: it delegates to none", e.Code)
	}
	return ""
}

// quietly runs fn with a probe whose verdict nobody sees.
func (s *session) quietly(fn func(p *probe)) {
	p := &probe{session: s, check: &Check{}, base: inventory{}}
	p.guarded(func() { fn(p) })
	for i := len(p.cleanups) - 1; i >= 0; i-- {
		p.guarded(p.cleanups[i])
	}
}
