package main

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// A config is a network configuration as the plugin uses it.
type config struct {
	CNIVersion string
	Name       string

	Spec   shim.NetworkSpec
	Frames string // shim.FramesDgram, FramesStream or FramesTap
	// VnetHeader has frames of a socket begin with a virtio-net header.
	VnetHeader bool
	Guard      shim.Guard
	Delegate   string // the plugin that gives the addresses; empty: none
	Lease      shim.LeasePolicy
	Shim       shimConfig

	LogFile  string
	LogLevel logrus.Level

	PrevResult json.RawMessage // nil: none
	// Valid lists the attachments that GC keeps, under ValidKey; nil: the key is absent.
	Valid    json.RawMessage
	ValidKey string

	wanted wanted // of runtimeConfig and args; CNI_ARGS come later
}

// shimConfig is the key "shim".
type shimConfig struct {
	Address string        // path of the socket; empty: in the runtime directory
	Binary  string        // path of the program; empty: looked for
	Spawn   bool          // start the shim when nobody listens
	Timeout time.Duration // of the verb
}

// Limits and defaults of the configuration.
const (
	defaultTimeout = 10 * time.Second
	maxTimeout     = 10 * time.Minute
)

// parseConfig returns the configuration in top, whose version said is known to
// be good. Unless strict is set, only what leads to the shim and names the
// network must be right.
func parseConfig(top map[string]json.RawMessage, said string, strict bool) (*config, error) {
	c := &config{CNIVersion: said, LogLevel: logrus.InfoLevel}
	o := &object{keys: top}
	if !o.take("name", &c.Name, "a string") {
		o.fail(errorf(codeConfig, "name is missing: want the network's name"))
	}
	if err := o.errs.err(); err != nil {
		return nil, err
	}
	if err := shim.CheckNetwork(c.Name); err != nil {
		return nil, errorf(codeConfig, "name: %w", err)
	}
	c.Spec.Name = c.Name
	if err := c.parseShim(openObject("shim", o.raw("shim"))); err != nil {
		return nil, err
	}
	if prev := o.raw("prevResult"); prev != nil && string(prev) != "null" {
		c.PrevResult = prev
	}
	c.takeValid(o)
	c.parseLog(o)
	o.fail(c.parseIPAM(openObject("ipam", o.raw("ipam"))))
	if !strict {
		return c, nil
	}
	if err := c.parseRest(o); err != nil {
		return nil, err
	}
	return c, nil
}

// parseRest reads what ADD, CHECK and STATUS look at.
func (c *config) parseRest(o *object) error {
	o.raw("type") // whoever started this program has read it
	o.raw("cniVersion")
	// libcni leaves the list's capabilities in, though the specification says
	// that they must not be there.
	o.take("capabilities", &map[string]bool{}, "an object of booleans")

	c.parseSpec(o)
	c.parseDNS(openObject("dns", o.raw("dns")), o)
	o.fail(c.parseGuard(openObject("guard", o.raw("guard"))))
	o.fail(c.parseIPMasq(o))
	c.wanted = parseWanted(o, c.Name)
	o.drop(func(key string) bool { return strings.HasPrefix(key, "cni.dev/") })
	if err := o.end(); err != nil {
		return err
	}
	return c.validate()
}

func (c *config) parseShim(o *object) error {
	c.Shim = shimConfig{Spawn: true, Timeout: defaultTimeout}
	o.take("address", &c.Shim.Address, "the path of a socket")
	o.take("binary", &c.Shim.Binary, "the path of a program")
	o.take("spawn", &c.Shim.Spawn, "true or false")
	var timeout string
	if o.take("timeout", &timeout, `a duration, as "10s"`) {
		d, err := time.ParseDuration(timeout)
		if err != nil || d <= 0 || d > maxTimeout {
			o.fail(badValue("shim.timeout", timeout, `a duration of at most %s, as "10s"`, maxTimeout))
		}
		c.Shim.Timeout = d
	}
	c.Shim.Address = strings.TrimPrefix(c.Shim.Address, "unix://")
	if a := c.Shim.Address; a != "" && (a[0] != '/' || len(a) > shim.MaxSocketPath) {
		o.fail(badValue("shim.address", a, "an absolute path of at most %d bytes", shim.MaxSocketPath))
	}
	if b := c.Shim.Binary; b != "" && b[0] != '/' {
		o.fail(badValue("shim.binary", b, "an absolute path"))
	}
	return o.end()
}

func (c *config) parseLog(o *object) {
	level := ""
	o.take("logFile", &c.LogFile, "a path")
	o.take("logLevel", &level, "a string")
	if c.LogFile != "" && c.LogFile != toSyslog && c.LogFile[0] != '/' {
		o.fail(badValue("logFile", c.LogFile, "an absolute path, or syslog"))
		c.LogFile = ""
	}
	switch level {
	case "", "info":
		c.LogLevel = logrus.InfoLevel
	case "debug":
		c.LogLevel = logrus.DebugLevel
	case "warn", "warning":
		c.LogLevel = logrus.WarnLevel
	case "error":
		c.LogLevel = logrus.ErrorLevel
	default:
		o.fail(badValue("logLevel", level, "debug, info, warning or error"))
	}
}

// parseSpec reads the keys that describe the network.
func (c *config) parseSpec(o *object) {
	s := &c.Spec
	o.take("mode", &s.Mode, "shared, host or bridged")
	o.take("driver", &s.Driver, "auto, vmnet, netstack or tap")
	o.take("subnet", &s.Subnet, `a subnet, as "192.168.127.0/24"`)
	o.take("gateway", &s.Gateway, `an address, as "192.168.127.1"`)
	o.take("subnet6", &s.Subnet6, `a subnet, as "fd5e:ed00:127::/64"`)
	o.take("ipv4", &s.IPv4, "managed or none")
	o.take("ipv6", &s.IPv6, "managed, slaac or none")
	o.take("uplink", &s.Uplink, "the name of an interface")
	if o.take("mtu", &s.MTU, "a number of bytes") && (s.MTU < vmnet.MinMTU || s.MTU > vmnet.MaxMTU) {
		o.fail(badValue("mtu", s.MTU, "%d to %d bytes", vmnet.MinMTU, vmnet.MaxMTU))
	}
	o.take("isolated", &s.Isolated, "true or false")
	o.take("offload", &s.Offload, "true or false")
	o.take("vnetHeader", &c.VnetHeader, "true or false")
	o.take("hostLoopback", &s.HostLoopback, "true or false")
	o.take("frames", &c.Frames, "dgram, stream or tap")
}

// parseIPAM reads the key "ipam". What else is in it when it names another
// plugin is that plugin's.
func (c *config) parseIPAM(o *object) error {
	typ := ""
	o.take("type", &typ, "a string")
	switch {
	case len(o.errs) > 0:
	case typ == "":
		c.Spec.IPAM = shim.IPAMBuiltin
		c.parseLease(o)
	case typ == shim.IPAMNone:
		c.Spec.IPAM = shim.IPAMNone
	default:
		if err := checkType("ipam.type", typ); err != nil {
			return err
		}
		c.Spec.IPAM, c.Delegate = shim.IPAMStatic, typ
		return nil
	}
	return o.end()
}

// givesAddresses reports whether attachments of the network get addresses from
// the shim or through it.
func (c *config) givesAddresses() bool {
	return c.Delegate != "" || c.Spec.IPAM != shim.IPAMNone && c.Spec.Mode != vmnet.Bridged
}

func (c *config) parseDNS(o *object, all *object) {
	d := &c.Spec.DNS
	o.take("nameservers", &d.Nameservers, "a list of addresses")
	o.take("domain", &d.Domain, "a domain name")
	o.take("search", &d.Search, "a list of domain names")
	o.take("options", &d.Options, "a list of strings")
	all.fail(o.end())
	all.fail(checkDNS("dns", *d, "nameservers", "search"))
}

// parseGuard reads what guests may send.
func (c *config) parseGuard(o *object) error {
	g := &c.Guard
	o.take("mac", &g.MAC, "true or false")
	o.take("ip", &g.IP, "true or false")
	o.take("dhcp", &g.DHCP, "true or false")
	o.take("ra", &g.RA, "true or false")
	o.take("allow", &g.Allow, `a list of subnets, as ["10.0.0.0/8"]`)
	o.take("deny", &g.Deny, `a list of subnets, as ["10.0.0.0/8"]`)
	return o.end()
}

// parseIPMasq keeps the meaning of a well-known key (CONVENTIONS.md): shared
// mode always translates addresses, the others never do.
func (c *config) parseIPMasq(o *object) error {
	var masq bool
	if !o.take("ipMasq", &masq, "true or false") || masq == (c.Spec.Mode == vmnet.Shared) {
		return nil
	}
	if masq {
		return badValue("ipMasq", masq, "false, or mode shared: mode %s translates no addresses", c.Spec.Mode)
	}
	return badValue("ipMasq", masq, "true, or mode host: mode shared always translates addresses")
}

// takeValid takes the list of GC. libcni sends it under two keys: the one of the
// specification's text, and the one it had when 1.1.0 was released.
func (c *config) takeValid(o *object) {
	for _, key := range []string{"cni.dev/valid-attachments", "cni.dev/attachments"} {
		if raw := o.raw(key); raw != nil && c.Valid == nil {
			c.Valid, c.ValidKey = raw, key
		}
	}
}
