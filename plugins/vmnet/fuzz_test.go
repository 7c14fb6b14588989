package main

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// FuzzConfig: whatever stands on stdin and in CNI_ARGS, the parser answers with
// a configuration whose request is well-formed, or with an error that has one of
// the codes for input and a message of bounded length.
func FuzzConfig(f *testing.F) {
	for _, c := range badConfig[:20] {
		f.Add([]byte(conf(f, "/s", c.keys)), "")
	}
	for _, c := range badRuntimeConfig {
		f.Add([]byte(conf(f, "/s", c.keys)), "")
	}
	f.Add([]byte(conf(f, "/s", map[string]any{"subnet": "10.0.0.0/24", "gateway": "10.0.0.1", "guard": raw(`{"mac":false}`)})), "IP=10.0.0.2;MAC=02:00:00:00:00:01;IgnoreUnknown=1;X=y")
	f.Add([]byte(conf(f, "/s", map[string]any{"prevResult": raw(goodPrev), "cni.dev/valid-attachments": raw(`[{"containerID":"a","ifname":"b"}]`)})), ";")
	f.Add([]byte(conf(f, "/s", runtimeConfig(`{"portMappings":[{"HostPort":8080,"ContainerPort":80,"Protocol":"UDP","HostIP":"127.0.0.1"}],
		"bandwidth":{"IngressRate":1,"EgressBurst":4294967295},"aliases":{"shared":["a"]}}`))), "")
	f.Add([]byte(conf(f, "/s", map[string]any{"ipam": raw(`{"stickyKey":"a","quarantine":"1h","whenFull":"refuse"}`)})), "K8S_POD_NAMESPACE=n;K8S_POD_NAME=p")
	f.Add([]byte(conf(f, "/s", map[string]any{"driver": "tap", "frames": "tap", "mode": "bridged", "uplink": "en0"})), "")
	f.Add([]byte(conf(f, "/s", map[string]any{"subnet6": "fd5e::/64", "ipv6": "slaac", "frames": "stream", "offload": true, "vnetHeader": true})), "")
	f.Add([]byte(conf(f, "/s", runtimeConfig(`{"ipRanges":[[{"subnet":"10.0.0.0/24","rangeStart":"10.0.0.9"}],[{"Subnet":"fd5e::/64","Gateway":"fd5e::1"}]]}`))), "")
	f.Add([]byte(conf(f, "/s", map[string]any{"args": raw(`{"cni":{"labels":[{"key":"vmnet.sticky-key","value":"x"},{"key":5}],"K8S_POD_NAME":1}}`)})), "")
	f.Fuzz(func(t *testing.T, stdin []byte, args string) {
		c, err := parseAll(stdin, args)
		if err != nil {
			e := asCNIError(err)
			switch e.Code {
			case codeVersion, codeUnsupported, codeEnv, codeDecode, codeConfig:
			default:
				t.Fatalf("code %d: %s", e.Code, e.Msg)
			}
			if e.Msg == "" || len(e.Msg) > 1024+10*len(stdin)+10*len(args) {
				t.Fatalf("message of %d bytes", len(e.Msg))
			}
			return
		}
		if shim.CheckNetwork(c.Name) != nil || c.Spec.Name != c.Name || c.Shim.Timeout <= 0 || c.Shim.Timeout > maxTimeout {
			t.Fatalf("accepted %+v", c)
		}
		s := c.Spec
		if s.Subnet.IsValid() && wantSubnet(s.Subnet) != "" || s.Subnet6.IsValid() && wantSubnet6(s.Subnet6) != "" ||
			c.Frames == shim.FramesTap && s.Driver != shim.DriverTap || s.Mode == vmnet.Bridged && (s.Uplink == "" || s.Subnet.IsValid()) {
			t.Fatalf("accepted what cannot be: %+v", c)
		}
		for _, r := range c.wanted.Ranges {
			if r.Last.Less(r.First) || !s.Subnet.Contains(r.First) && !s.Subnet6.Contains(r.First) || !s.Subnet.Contains(r.Last) && !s.Subnet6.Contains(r.Last) {
				t.Fatalf("accepted the range %+v of %s and %s", r, s.Subnet, s.Subnet6)
			}
		}
		if _, err := json.Marshal(c.Spec); err != nil {
			t.Fatalf("request: %v", err)
		}
	})
}

// parseAll is everything that ADD does with its input before it asks anybody.
func parseAll(stdin []byte, args string) (*config, error) {
	raw, err := readStdin(bytes.NewReader(stdin))
	if err != nil {
		return nil, err
	}
	top, said, err := readHead(raw)
	if err != nil {
		return nil, err
	}
	if err := checkVersion("ADD", verbs["ADD"], said); err != nil {
		return nil, err
	}
	c, err := parseConfig(top, said, true)
	if err != nil {
		return nil, err
	}
	if _, err := prevResult(c); err != nil {
		return nil, err
	}
	if c.Valid != nil {
		if _, err := parseValid(c.ValidKey, c.Valid); err != nil { // as GC does
			return nil, err
		}
	}
	want := c.wanted
	if err := want.parseArgs(strings.ToValidUTF8(args, "")); err != nil {
		return nil, err
	}
	return c, want.check(c.Spec)
}

// FuzzIPAM: whatever an IPAM plugin prints, what comes of it is a lease that the
// network can have, or an error of bounded length.
func FuzzIPAM(f *testing.F) {
	for _, s := range []string{
		goodLease, `{}`, `null`, `[]`, `{"ips":null}`, `{"ips":[null]}`, `{"ips":[{"address":"10.0.0.2/24","gateway":"10.0.0.1"}],"routes":[null]}`,
		`{"cniVersion":"0.2.0","ip4":{"ip":"10.0.0.2/24","gateway":"10.0.0.1","routes":[{"dst":"0.0.0.0/0"}]}}`, `{"cniVersion":"0.4.0","ips":[{"version":"4","address":"10.0.0.2/24"}]}`,
		`{"ips":[{"address":"::ffff:10.0.0.2/120"}]}`, `{"ips":[{"address":"fd00::2/64"}]}`, `{"ips":[{"address":"10.0.0.2/24"},{"address":"fd00::2/64","gateway":"fd00::1"}],"routes":[{"dst":"::/0"}]}`, `{"ips":[{"address":"10.0.0.2/24","gateway":"fd00::1"}],"dns":{"nameservers":[""]}}`,
	} {
		f.Add([]byte(s), "1.1.0", "", false)
		f.Add([]byte(s), "0.4.0", "10.0.0.0/24", true)
	}
	f.Fuzz(func(t *testing.T, out []byte, version, subnet string, loopback bool) {
		res, err := decodeIPAM(out, version)
		if err != nil {
			return
		}
		spec := shim.NetworkSpec{IPAM: shim.IPAMStatic, HostLoopback: loopback}
		if p, err := netip.ParsePrefix(subnet); err == nil && wantSubnet(p) == "" {
			spec.Subnet = p
		}
		l, err := newLease(res, "ipam x")
		if err == nil {
			err = l.fit(&spec, "ipam x")
		}
		if err != nil {
			if msg := err.Error(); msg == "" || len(msg) > 1024+10*len(out) {
				t.Fatalf("message of %d bytes", len(msg))
			}
			return
		}
		if a := l.Addr6; a.IsValid() && (a.Masked() != spec.Subnet6 || wantSubnet6(spec.Subnet6) != "" || !a.Addr().Is6()) || len(l.ips()) == 0 {
			t.Fatalf("accepted %+v for %+v", l, spec)
		}
		if !l.Addr.IsValid() {
			return
		}
		a := l.Addr.Addr()
		if !a.Is4() || l.Addr.Masked() != spec.Subnet || wantSubnet(spec.Subnet) != "" || a == spec.Gateway || !spec.Subnet.Contains(spec.Gateway) {
			t.Fatalf("accepted %+v for %+v", l, spec)
		}
	})
}

// FuzzValidateFile: every file is judged, with one line for each problem.
func FuzzValidateFile(f *testing.F) {
	for _, s := range []string{
		`{"cniVersion":"1.1.0","name":"n","plugins":[{"type":"vmnet"}]}`, `{"cniVersion":"1.1.0","name":"n","type":"vmnet","ipam":{"type":"x"}}`,
		`{"cniVersions":["1.0.0"],"name":"n","plugins":[{"type":"vmnet","runtimeConfig":{},"capabilities":{"x":true}},null]}`, `[]`, ``, "{\n,",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		file := checkFile(data, "/nonexistent")
		for _, err := range file.errs {
			if err.Error() == "" {
				t.Fatal("a problem without a text")
			}
		}
		if len(file.errs) == 0 && (file.name == "" || file.version == "") {
			t.Fatalf("good, with name %q and version %q", file.name, file.version)
		}
	})
}
