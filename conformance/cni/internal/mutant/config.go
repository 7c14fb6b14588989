package mutant

import (
	"bytes"
	"encoding/json"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// A call is one run of a verb.
type call struct {
	env
	raw     []byte // stdin
	top     map[string]any
	version string
	conf    config
}

// config is what the plugin knows of its configuration.
type config struct {
	Name          string                     `json:"name"`
	Type          string                     `json:"type"`
	CNIVersion    string                     `json:"cniVersion"`
	Subnet        netip.Prefix               `json:"subnet"`
	MTU           int                        `json:"mtu"`
	IPAM          struct{ Type string }      `json:"ipam"`
	DNS           dns                        `json:"dns"`
	Capabilities  map[string]bool            `json:"capabilities"`
	RuntimeConfig runtimeConfig              `json:"runtimeConfig"`
	Args          map[string]json.RawMessage `json:"args"`
	PrevResult    map[string]any             `json:"prevResult"`
}

type dns struct {
	Nameservers []string `json:"nameservers,omitempty"`
	Domain      string   `json:"domain,omitempty"`
	Search      []string `json:"search,omitempty"`
	Options     []string `json:"options,omitempty"`
}

type runtimeConfig struct {
	MAC          string   `json:"mac"`
	IPs          []string `json:"ips"`
	DNS          struct{ Servers, Searches, Options []string }
	PortMappings []struct {
		HostPort, ContainerPort int
		Protocol, HostIP        string
	}
	Bandwidth struct{ IngressRate, IngressBurst, EgressRate, EgressBurst uint64 }
}

func readStdin() ([]byte, error) { return io.ReadAll(os.Stdin) }

// readCall reads stdin and checks what is the same for all verbs.
func readCall(e env, v verb, spoken *string) (*call, error) {
	c := &call{env: e}
	var err error
	if c.raw, err = readStdin(); err != nil {
		if fault("I02") {
			return nil, failf(6, "read stdin: %v", err)
		}
		return nil, failf(5, "read stdin: %v", err)
	}
	if json.Unmarshal(c.raw, &c.top) != nil || c.top == nil {
		return nil, c.notJSON()
	}
	if err := c.checkVersion(v, spoken); err != nil {
		return nil, err
	}
	name, _ := c.top["name"].(string)
	if !goodName(name) && !fault("I03") {
		return nil, failf(7, "name %q: want letters and digits", name)
	}
	if err := c.decode(); err != nil {
		return nil, err
	}
	return c, c.checkKeys()
}

func (c *call) notJSON() error {
	switch {
	case fault("I01"):
		return failf(7, "stdin is no JSON object")
	case fault("D12") && c.command == "DEL":
		panic("mutant: no configuration")
	case fault("D11") && c.command == "DEL":
		return failf(6, "configuration not found")
	}
	return failf(6, "stdin is no JSON object")
}

func (c *call) checkVersion(v verb, spoken *string) error {
	value, has := c.top["cniVersion"]
	said, isText := value.(string)
	if has && !isText {
		if fault("I05") {
			return failf(7, "cniVersion is no text")
		}
		return failf(6, "cniVersion is no text")
	}
	if !has && fault("I06") {
		said = newest
	}
	if said != "" && !fault("O05-newest") {
		*spoken = said
	}
	c.version = said
	late := indexOf(said) < indexOf(v.since)
	if fault("V04-gate") && c.command == "CHECK" {
		late = false
	}
	if indexOf(said) < 0 || late {
		if fault("I04") {
			return failf(7, "cniVersion %q", said)
		}
		return &fail{Code: 1, Msg: "cniVersion " + said, Details: "supported: " + strings.Join(supported(), ", ")}
	}
	return nil
}

func indexOf(version string) int { return slices.Index(supported(), version) }

// decode reads the fields. Keys are matched in any case, unless that is the fault.
func (c *call) decode() error {
	c.conf = config{}
	top := map[string]any{}
	for k, v := range c.top {
		top[k] = v
	}
	if c.command == "DEL" || fault("I11-accept") {
		for _, k := range []string{"mtu", "prevResult"} { // neither stops a DEL
			delete(top, k)
		}
		if prev, ok := c.top["prevResult"].(map[string]any); ok {
			top["prevResult"] = prev
		}
	}
	raw, err := json.Marshal(top)
	if err != nil {
		return err
	}
	if fault("K01") {
		raw = bytes.ReplaceAll(raw, []byte(`"Servers"`), []byte(`"x"`))
	}
	if err := json.Unmarshal(raw, &c.conf); err != nil {
		if fault("I11-late") && c.command == "ADD" {
			c.litter("late")
		}
		if fault("I11") {
			return failf(999, "configuration: %v", err)
		}
		return failf(7, "configuration: %v", err)
	}
	if !c.conf.Subnet.IsValid() {
		c.conf.Subnet = netip.MustParsePrefix("10.77.0.0/24")
	}
	return nil
}

// checkKeys refuses what is not known, or what the fault says.
func (c *call) checkKeys() error {
	known := []string{"name", "type", "cniVersion", "subnet", "mtu", "ipam", "dns", "capabilities", "runtimeConfig", "args", "prevResult"}
	for k, v := range c.top {
		if c.command != "ADD" || slices.Contains(known, k) {
			continue
		}
		value, _ := json.Marshal(v)
		switch {
		case strings.HasPrefix(k, "cni.dev/") && fault("I07"):
			return failf(2, "%s: %s", k, value)
		case strings.HasPrefix(k, "cni.dev/"), k == "disableCheck":
		case fault("I09"):
			return failf(7, "unknown key %s", k)
		default:
			return failf(2, "%s: %s is unknown", k, value)
		}
	}
	for k := range c.conf.Capabilities {
		if fault("I08") && !slices.Contains([]string{"mac", "ips", "dns", "portMappings", "bandwidth"}, k) {
			return failf(2, "capabilities: %s", k)
		}
	}
	_, inList := c.top["disableCheck"]
	_, has := c.top["runtimeConfig"]
	switch {
	case fault("I12") && c.command == "ADD" && !inList:
		return failf(7, "disableCheck is missing")
	case fault("K06") && c.command == "ADD" && !has:
		return failf(7, "runtimeConfig is missing")
	case fault("K04") && strings.Contains(string(c.conf.Args["cni"]), "labels"):
		return failf(7, "args.cni.labels is unknown")
	}
	return nil
}

// wanted is what the runtime asks for, from the strongest source that says it.
type wanted struct {
	mac string
	ips []netip.Addr
}

func (c *call) wanted() (wanted, error) {
	var w wanted
	var args struct {
		MAC string
		IPs []string
	}
	if raw, ok := c.conf.Args["cni"]; ok && json.Unmarshal(raw, &args) != nil {
		return w, failf(7, "args.cni: %s", raw)
	}
	fromEnv, err := c.cniArgs()
	if err != nil {
		return w, err
	}
	macs := []string{c.conf.RuntimeConfig.MAC, args.MAC, fromEnv["MAC"]}
	if fault("K03") {
		slices.Reverse(macs)
	}
	for _, mac := range macs {
		if w.mac == "" {
			w.mac = mac
		}
	}
	if w.mac != "" && !goodMAC(w.mac) {
		if !fault("K02-wrong") {
			return w, failf(7, "mac %q is none", w.mac)
		}
		w.mac = ""
	}
	if fault("K02") {
		w.mac = ""
	}
	ips := c.conf.RuntimeConfig.IPs
	if len(ips) == 0 && fromEnv["IP"] != "" {
		ips = []string{fromEnv["IP"]}
	}
	for _, s := range ips {
		text, _, _ := strings.Cut(s, "/")
		ip, err := netip.ParseAddr(text)
		if err != nil || !c.conf.Subnet.Contains(ip) {
			return w, failf(7, "ips %q: want an address of %s", s, c.conf.Subnet)
		}
		w.ips = append(w.ips, ip)
	}
	return w, nil
}

// cniArgs reads CNI_ARGS.
func (c *call) cniArgs() (map[string]string, error) {
	all := map[string]string{}
	var order []string
	for pair := range strings.SplitSeq(c.args, ";") {
		if pair == "" {
			continue
		}
		k, v, ok := strings.Cut(pair, "=")
		if !ok || strings.Contains(v, "=") {
			if fault("E10") {
				continue
			}
			return nil, failf(4, "CNI_ARGS: %q is no pair", pair)
		}
		all[k] = v
		order = append(order, k)
	}
	ignore := all["IgnoreUnknown"] == "1" || all["IgnoreUnknown"] == "true"
	if fault("K05-order") && len(order) > 0 && order[0] != "IgnoreUnknown" {
		ignore = false
	}
	for _, k := range order {
		if !slices.Contains([]string{"MAC", "IP", "IgnoreUnknown"}, k) && !ignore && !fault("K05") {
			return nil, failf(4, "CNI_ARGS: %s is unknown", k)
		}
	}
	return all, nil
}
