package vmnet

import (
	"fmt"
	"net"
	"strconv"
	"strings"
)

// String returns "tcp", "udp", "icmp" or the protocol's number.
func (p Protocol) String() string {
	switch p {
	case ICMP:
		return "icmp"
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	}
	return strconv.Itoa(int(p))
}

// MarshalText implements encoding.TextMarshaler.
func (p Protocol) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads the text form of String, in any case.
func (p *Protocol) UnmarshalText(text []byte) error {
	switch s := strings.ToLower(string(text)); s {
	case "icmp":
		*p = ICMP
	case "tcp":
		*p = TCP
	case "udp":
		*p = UDP
	default:
		n, err := strconv.ParseUint(s, 10, 8)
		if err != nil {
			return fmt.Errorf("protocol %q: want tcp, udp, icmp or a number up to 255", text)
		}
		*p = Protocol(n)
	}
	return nil
}

// String returns the rule as "tcp *:8080 -> 192.168.127.2:80".
func (f Forward) String() string {
	host := "*"
	if a := f.External.Addr(); a.IsValid() {
		host = a.String()
	}
	return fmt.Sprintf("%s %s -> %s", f.Protocol, net.JoinHostPort(host, strconv.Itoa(int(f.External.Port()))), f.Internal)
}
