package server_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/vmnet-cni/vmnet/pkg/shim"
)

func TestBadRequests(t *testing.T) {
	const c1 = "/v1/networks/n/attachments/c1/eth0"
	const other = "/v1/networks/n/attachments/c2/eth0"
	long := strings.Repeat("x", 256)
	spec := func(s string) string { return `{"network":{` + s + `}}` }
	tests := []struct {
		name, method, path, body string
		code                     shim.Code
		status                   int
		key, text                string
	}{
		{"unknown path", "GET", "/v2/status", "", "not_found", 404, "", "path /v2/status: no such path"},
		{"root", "GET", "/", "", "not_found", 404, "", "no such path"},
		{"path with dots", "GET", "/v1/networks/../status", "", "not_found", 404, "", "no such path"},
		{"doubled slash", "GET", "/v1//status", "", "not_found", 404, "", "no such path"},
		{"wrong method", "POST", "/v1/status", "", "unsupported", 405, "", `method POST /v1/status: want one of ["GET"]`},
		{"patch", "PATCH", c1, "{}", "unsupported", 405, "", "want one of"},
		{"network name", "PUT", "/v1/networks/-n/attachments/c2/eth0", "{}", "invalid_argument", 400, "network", `network "-n"`},
		{"escaped slash in network", "PUT", "/v1/networks/a%2Fb/attachments/c2/eth0", "{}", "invalid_argument", 400, "network", `network "a/b"`},
		{"container ID", "PUT", "/v1/networks/n/attachments/a%20b/eth0", "{}", "invalid_argument", 400, "containerID", `containerID "a b"`},
		{"container ID with dots", "GET", "/v1/networks/n/attachments/%2e%2e%2fx/eth0", "", "invalid_argument", 400, "containerID", `containerID "../x"`},
		{"long container ID", "PUT", "/v1/networks/n/attachments/" + long + "/eth0", "{}", "invalid_argument", 400, "containerID", "256 bytes, want at most 255"},
		{"long ifname", "PUT", "/v1/networks/n/attachments/c2/eth01234567890123", "{}", "invalid_argument", 400, "ifname", "17 bytes, want at most 15"},
		{"ifname with colon", "PUT", "/v1/networks/n/attachments/c2/a:b", "{}", "invalid_argument", 400, "ifname", `ifname "a:b"`},
		{"no body", "PUT", other, "", "invalid_argument", 400, "", "body: is empty"},
		{"no JSON", "PUT", other, "{", "invalid_argument", 400, "", "body: byte 1: unexpected end"},
		{"two documents", "PUT", other, "{}{}", "invalid_argument", 400, "", "body: byte 3"},
		{"a list", "PUT", other, "[]", "invalid_argument", 400, "", "body: []: want a JSON object"},
		{"too large", "PUT", other, `{"hostname":"` + strings.Repeat("x", 70000) + `"}`, "too_large", 413, "", "body: more than 65536 bytes"},
		{"unknown key", "PUT", other, `{"colour":"red"}`, "invalid_argument", 400, "colour", `colour "red": unknown key`},
		{"unknown key below", "PUT", other, spec(`"dns":{"servers":["x"]}`), "invalid_argument", 400, "network.dns.servers", "unknown key"},
		{"key with another case", "PUT", other, `{"Frames":"dgram"}`, "invalid_argument", 400, "Frames", "unknown key"},
		{"key twice", "PUT", other, `{"frames":"dgram","frames":"stream"}`, "invalid_argument", 400, "frames", "key is there twice"},
		{"number for text", "PUT", other, `{"mac":5}`, "invalid_argument", 400, "mac", `mac "5": want a string`},
		{"text for number", "PUT", other, spec(`"mtu":"big"`), "invalid_argument", 400, "network.mtu", `network.mtu "big": want a whole number`},
		{"fraction", "PUT", other, spec(`"mtu":1500.5`), "invalid_argument", 400, "network.mtu", "want a whole number"},
		{"text for bool", "PUT", other, spec(`"isolated":"yes"`), "invalid_argument", 400, "network.isolated", "want true or false"},
		{"text for object", "PUT", other, `{"network":"n"}`, "invalid_argument", 400, "network", `network "n": want an object`},
		{"text for list", "PUT", other, `{"ips":"10.0.0.1"}`, "invalid_argument", 400, "ips", "want a list"},
		{"name differs", "PUT", other, spec(`"name":"m"`), "invalid_argument", 400, "network.name", `want "n" as in the path`},
		{"mode", "PUT", other, spec(`"mode":"nat"`), "invalid_argument", 400, "network.mode", `network.mode "nat"`},
		{"driver", "PUT", other, spec(`"driver":"slirp"`), "invalid_argument", 400, "network.driver", `network.driver "slirp": want one of`},
		{"driver that is not here", "PUT", "/v1/networks/m/attachments/c2/eth0", spec(`"driver":"tap"`), "unsupported", 501, "network.driver", `network.driver "tap": this shim has ["netstack"]`},
		{"subnet text", "PUT", other, spec(`"subnet":"10.0.0.0"`), "invalid_argument", 400, "network.subnet", `network.subnet "10.0.0.0"`},
		{"subnet with host bits", "PUT", other, spec(`"subnet":"10.0.0.1/24"`), "invalid_argument", 400, "network.subnet", "want 10.0.0.0/24"},
		{"subnet too small", "PUT", other, spec(`"subnet":"10.0.0.0/30"`), "invalid_argument", 400, "network.subnet", "want a length of 8 to 29"},
		{"subnet of IPv6", "PUT", other, spec(`"subnet":"fd00::/64"`), "invalid_argument", 400, "network.subnet", "want an IPv4 subnet"},
		{"subnet6 of another length", "PUT", other, spec(`"subnet6":"fd00::/56"`), "invalid_argument", 400, "network.subnet6", "want an IPv6 subnet of 64 bits"},
		{"subnet6 with host bits", "PUT", other, spec(`"subnet6":"fd00::1/64"`), "invalid_argument", 400, "network.subnet6", "want fd00::/64"},
		{"subnet6 without IPv6", "PUT", other, spec(`"subnet6":"fd00::/64","ipv6":"none"`), "invalid_argument", 400, "network.subnet6", "want no subnet6"},
		{"subnet6 at layer 2", "PUT", other, spec(`"subnet6":"fd00::/64","ipam":"none"`), "unsupported", 501, "network.subnet6", "no IPv6 of the shim's"},
		{"subnet without IPv4", "PUT", other, spec(`"subnet":"10.0.0.0/24","ipv4":"none"`), "invalid_argument", 400, "network.subnet", "want no subnet"},
		{"ipv4", "PUT", other, spec(`"ipv4":"dhcp"`), "invalid_argument", 400, "network.ipv4", `want "managed" or "none"`},
		{"ipv6", "PUT", other, spec(`"ipv6":"dhcp"`), "invalid_argument", 400, "network.ipv6", `want "managed", "slaac" or "none"`},
		{"no IP at all", "PUT", other, spec(`"ipv4":"none","ipv6":"none"`), "invalid_argument", 400, "network.ipv6", "a network without IP"},
		{"IPv6 address without IPv6", "PUT", other, `{"network":{"ipv6":"none"},"ips":["fd00::9"]}`, "invalid_argument", 400, "ips", "does not have this IP version"},
		{"gateway outside", "PUT", other, spec(`"subnet":"10.0.0.0/24","gateway":"10.0.1.1"`), "invalid_argument", 400, "network.gateway", "want an address from 10.0.0.1 to 10.0.0.254"},
		{"gateway alone", "PUT", other, spec(`"gateway":"10.0.1.1"`), "invalid_argument", 400, "network.gateway", "want network.subnet"},
		{"mtu", "PUT", other, spec(`"mtu":576`), "invalid_argument", 400, "network.mtu", `network.mtu "576": want 1280 to 65520`},
		{"bridged without uplink", "PUT", other, spec(`"mode":"bridged"`), "invalid_argument", 400, "network.uplink", "wants the name of an interface"},
		{"bridged", "PUT", "/v1/networks/m/attachments/c2/eth0", spec(`"mode":"bridged","uplink":"en0"`), "unsupported", 501, "", "bridged"},
		{"uplink without bridged", "PUT", other, spec(`"uplink":"en0"`), "invalid_argument", 400, "network.uplink", "mode shared has no uplink"},
		{"ipam", "PUT", other, spec(`"ipam":"dhcp"`), "invalid_argument", 400, "network.ipam", `network.ipam "dhcp"`},
		{"delegated without address", "PUT", other, `{"network":{"ipam":"delegated","subnet":"10.0.0.0/24"}}`, "invalid_argument", 400, "ips", `want an address of each IP version`},
		{"delegated without length", "PUT", other, `{"network":{"ipam":"delegated","subnet":"10.0.0.0/24"},"ips":["10.0.0.9"]}`, "invalid_argument", 400, "ips", `ips "10.0.0.9"`},
		{"delegated of IPv6", "PUT", other, `{"network":{"ipam":"delegated","subnet":"10.0.0.0/24"},"ips":["fd00::9/64"]}`, "invalid_argument", 400, "network.subnet6", `want the subnet`},
		{"delegated without subnet", "PUT", other, `{"network":{"ipam":"delegated"},"ips":["10.0.0.9/24"]}`, "invalid_argument", 400, "network.subnet", `want the subnet`},
		{"delegated outside", "PUT", other, `{"network":{"ipam":"delegated","subnet":"10.0.0.0/24"},"ips":["10.0.1.9/24"]}`, "invalid_argument", 400, "ips", `10.0.0.0/24`},
		{"delegated broadcast", "PUT", other, `{"network":{"ipam":"delegated","subnet":"10.0.0.0/24"},"ips":["10.0.0.255/24"]}`, "invalid_argument", 400, "ips", `10.0.0.1 to 10.0.0.254`},
		{"delegated gateway", "PUT", other, `{"network":{"ipam":"delegated","subnet":"10.0.0.0/24"},"ips":["10.0.0.1/24"]}`, "invalid_argument", 400, "ips", `is the gateway's`},
		{"delegated loopback", "PUT", other, `{"network":{"ipam":"delegated","subnet":"10.0.0.0/24","hostLoopback":true},"ips":["10.0.0.254/24"]}`, "invalid_argument", 400, "ips", `hostLoopback uses it`},
		{"delegated gateway of IPv6", "PUT", other, `{"network":{"ipam":"delegated","subnet":"10.0.0.0/24"},"ips":["10.0.0.9/24"],"gateway":"fd00::1"}`, "invalid_argument", 400, "gateway", `want an IPv4 address`},
		{"delegated route of IPv6", "PUT", other, `{"network":{"ipam":"delegated","subnet":"10.0.0.0/24"},"ips":["10.0.0.9/24"],"routes":[{"dst":"::/0"}]}`, "invalid_argument", 400, "routes", `::/0`},
		{"gateway not delegated", "PUT", other, `{"gateway":"10.0.0.1"}`, "invalid_argument", 400, "gateway", `want network.gateway`},
		{"routes not delegated", "PUT", other, `{"routes":[{"dst":"10.0.0.0/8","gw":"10.0.0.1"}]}`, "invalid_argument", 400, "routes", `10.0.0.0/8 via 10.0.0.1`},
		{"ranges without subnet", "PUT", other, `{"ranges":[{"first":"10.0.0.1","last":"10.0.0.9"}]}`, "invalid_argument", 400, "ranges", `want network.subnet`},
		{"ranges outside", "PUT", other, `{"network":{"subnet":"10.0.0.0/24"},"ranges":[{"first":"10.0.0.1","last":"10.0.1.9"}]}`, "invalid_argument", 400, "ranges", `10.0.0.1 to 10.0.0.254`},
		{"ranges overlap", "PUT", other, `{"network":{"subnet":"10.0.0.0/24"},"ranges":[{"first":"10.0.0.2","last":"10.0.0.9"},{"first":"10.0.0.9","last":"10.0.0.9"}]}`, "invalid_argument", 400, "ranges", `overlaps`},
		{"range of the gateway", "PUT", other, `{"network":{"subnet":"10.0.0.0/24"},"ranges":[{"first":"10.0.0.1","last":"10.0.0.1"}]}`, "invalid_argument", 400, "ranges", `no address`},
		{"ranges at layer 2", "PUT", other, `{"network":{"ipam":"none"},"ranges":[{"first":"10.0.0.2","last":"10.0.0.3"}]}`, "invalid_argument", 400, "ranges", `does not allocate`},
		{"system with netstack", "PUT", other, spec(`"ipam":"system","driver":"netstack"`), "unsupported", 501, "network.ipam", `want network.driver "vmnet"`},
		{"system, bridged", "PUT", other, spec(`"ipam":"system","mode":"bridged","uplink":"en0"`), "invalid_argument", 400, "network.ipam", `the LAN's DHCP server`},
		{"system with addresses", "PUT", other, `{"network":{"ipam":"system"},"ips":["10.0.0.9"]}`, "invalid_argument", 400, "ips", `want none`},
		{"system with IPv6", "PUT", other, spec(`"ipam":"system","subnet6":"fd00::/64"`), "unsupported", 501, "network.subnet6", "no IPv6 of the shim's"},
		{"range end without subnet", "PUT", other, spec(`"ipam":"system","rangeEnd":"10.0.0.9"`), "invalid_argument", 400, "network.rangeEnd", "want network.subnet"},
		{"range end before the gateway", "PUT", other, spec(`"ipam":"system","subnet":"10.0.0.0/24","gateway":"10.0.0.5","rangeEnd":"10.0.0.5"`), "invalid_argument", 400, "network.rangeEnd", "after the gateway 10.0.0.5"},
		{"range end of the shim's", "PUT", other, spec(`"subnet":"10.0.0.0/24","rangeEnd":"10.0.0.9"`), "invalid_argument", 400, "network.rangeEnd", `network.ipam "system"`},
		{"layer 2 with subnet", "PUT", other, spec(`"ipam":"none","subnet":"10.0.0.0/24"`), "invalid_argument", 400, "network.subnet", "layer 2 only"},
		{"offload on a network without", "PUT", other, spec(`"offload":true`), "conflict", 409, "network.offload", "network n is in use with false: its guests"},
		{"name server", "PUT", other, spec(`"dns":{"nameservers":["dns.google"]}`), "invalid_argument", 400, "network.dns.nameservers", `"dns.google": want IP addresses`},
		{"search domain", "PUT", other, spec(`"dns":{"search":["a..b"]}`), "invalid_argument", 400, "network.dns.search", `"a..b": want DNS domains`},
		{"guest's domain", "PUT", other, `{"dns":{"domain":"a b"}}`, "invalid_argument", 400, "dns.domain", "want a DNS domain"},
		{"frames", "PUT", other, `{"frames":"seqpacket"}`, "invalid_argument", 400, "frames", `frames "seqpacket"`},
		{"frames tap", "PUT", other, `{"frames":"tap"}`, "unsupported", 501, "frames", `want network.driver "tap"`},
		{"mac text", "PUT", other, `{"mac":"02:00"}`, "invalid_argument", 400, "mac", `mac "02:00": want six bytes`},
		{"mac of a group", "PUT", other, `{"mac":"01:00:5e:00:00:01"}`, "invalid_argument", 400, "mac", "is a group address"},
		{"mac zero", "PUT", other, `{"mac":"00:00:00:00:00:00"}`, "invalid_argument", 400, "mac", "not zero"},
		{"mac taken", "PUT", other, `{"mac":"02:00:00:00:00:01"}`, "conflict", 409, "mac", "has it: n/c1/eth0"},
		{"ip text", "PUT", other, `{"ips":["ten"]}`, "invalid_argument", 400, "ips", `ips "ten": want an address`},
		{"two ips", "PUT", other, `{"ips":["192.168.127.9","192.168.127.10"]}`, "invalid_argument", 400, "ips", "at most one address of each IP version"},
		{"ip outside", "PUT", other, `{"ips":["10.9.9.9"]}`, "invalid_argument", 400, "ips", `ips "10.9.9.9"`},
		{"ip of the gateway", "PUT", other, `{"ips":["192.168.127.1"]}`, "invalid_argument", 400, "ips", "gateway"},
		{"ip taken", "PUT", other, `{"ips":["192.168.127.77"]}`, "conflict", 409, "ips", `ips "192.168.127.77": another attachment`},
		{"hostname", "PUT", other, `{"hostname":"a b"}`, "invalid_argument", 400, "hostname", "want a DNS name"},
		{"request ID", "PUT", other, `{"requestID":"a\nb"}`, "invalid_argument", 400, "requestID", "want printable text"},
		{"same attachment, other request", "PUT", c1, `{"hostname":"other"}`, "conflict", 409, "", "the attachment exists with"},
		{"same network, other mode", "PUT", other, spec(`"mode":"host"`), "conflict", 409, "network.mode", `network.mode "host": network n is in use with "shared"`},
		{"same network, other mtu", "PUT", other, spec(`"mtu":9000`), "conflict", 409, "network.mtu", `network.mtu "9000": network n is in use with "1500"`},
		{"no such network", "GET", "/v1/networks/m", "", "not_found", 404, "", "network m"},
		{"no such attachment", "GET", other, "", "not_found", 404, "", "attachment n/c2/eth0"},
		{"frames without upgrade", "POST", c1 + "/frames", "", "invalid_argument", 426, "Upgrade", "want Connection: Upgrade"},
		{"capture of what", "GET", c1 + "/capture?filter=foo", "", "invalid_argument", 400, "filter", "foo"},
		{"capture of no bytes", "GET", c1 + "/capture?snaplen=0", "", "invalid_argument", 400, "snaplen", "want 1 to"},
		{"capture of no frames", "GET", c1 + "/capture?count=-1", "", "invalid_argument", 400, "count", "want 1 to"},
		{"capture with more", "GET", c1 + "/capture?color=red", "", "invalid_argument", 400, "color", "want filter, snaplen or count"},
		{"capture of nothing", "GET", other + "/capture", "", "not_found", 404, "", "n/c2/eth0"},
		{"gc without list", "POST", "/v1/networks/n/gc", "{}", "invalid_argument", 400, "valid", "want a list"},
		{"gc with null", "POST", "/v1/networks/n/gc", `{"valid":null}`, "invalid_argument", 400, "valid", "want a list"},
		{"gc with unknown key", "POST", "/v1/networks/n/gc", `{"valid":[{"container":"c1"}]}`, "invalid_argument", 400, "valid[0].container", "unknown key"},
	}
	r := start(t, config(newDirs(t)))
	r.attach("n", "c1", shim.AttachRequest{MAC: "02:00:00:00:00:01", IPs: []string{"192.168.127.77"}})
	before := r.census()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := r.do(tt.method, tt.path, tt.body)
			var e shim.Error
			if err := json.Unmarshal([]byte(a.body), &e); err != nil {
				t.Fatalf("answer %d %q: %v, want JSON", a.status, a.body, err)
			}
			if e.Code != tt.code || a.status != tt.status || tt.key != "" && e.Key != tt.key || !strings.Contains(e.Message, tt.text) {
				t.Errorf("answer %d %+v\nwant   %d code %s key %q with %q", a.status, e, tt.status, tt.code, tt.key, tt.text)
			}
			if got := a.header.Get("Content-Type"); got != "application/json" {
				t.Errorf("content type %q", got)
			}
		})
	}
	r.nothingLeft(before)
}

func TestLargeHead(t *testing.T) {
	r := start(t, config(newDirs(t)))
	a, err := do(r.dirs.ShimSocket(), "GET", "/v1/status?"+strings.Repeat("x", 40000), "")
	// The server closes what it does not read, which may overtake its answer.
	if err == nil && a.status != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("status %d, want 431", a.status)
	}
}
