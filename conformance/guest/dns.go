package guest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/miekg/dns"
)

// DNS: each try waits this long, and there are this many (resolv.conf(5) has 5
// seconds and 2 tries; nobody here is that far away, but the machine may be busy).
const (
	dnsWait  = 2 * time.Second
	dnsTries = 8
)

// LookupHost returns the IPv4 addresses of a name, asked of the first name
// server of the lease. An error for a name that does not exist is a
// *net.DNSError with IsNotFound.
func (g *Guest) LookupHost(ctx context.Context, name string) ([]netip.Addr, error) {
	q := new(dns.Msg)
	q.SetQuestion(dns.Fqdn(name), dns.TypeA)
	r, err := g.Query(ctx, "udp", q)
	if err == nil && r.Truncated {
		r, err = g.Query(ctx, "tcp", q)
	}
	if err != nil {
		return nil, fmt.Errorf("look up %s: %w", name, err)
	}
	var addrs []netip.Addr
	for _, rr := range r.Answer {
		if a, ok := rr.(*dns.A); ok {
			addrs = append(addrs, ip4(a.A))
		}
	}
	if len(addrs) == 0 {
		return nil, &net.DNSError{
			Err: dns.RcodeToString[r.Rcode], Name: name,
			IsNotFound: r.Rcode == dns.RcodeNameError || r.Rcode == dns.RcodeSuccess,
		}
	}
	return addrs, nil
}

// Query asks the first name server of the lease, by "udp" or "tcp". An answer that
// says SERVFAIL, as when the server's own servers were slow, is asked for again, as
// the resolvers of C libraries do; when none says more it is returned.
func (g *Guest) Query(ctx context.Context, network string, q *dns.Msg) (*dns.Msg, error) {
	servers := g.Lease().DNS
	if len(servers) == 0 {
		return nil, errors.New("the lease has no name server")
	}
	server := netip.AddrPortFrom(servers[0], 53).String()
	for try := 1; ; try++ {
		r, err := g.query(ctx, network, server, q)
		switch again := try < dnsTries && ctx.Err() == nil; {
		case err == nil && (r.Rcode != dns.RcodeServerFailure || !again):
			return r, nil
		case err != nil && !again:
			return nil, fmt.Errorf("name server %s: %w", server, err)
		}
	}
}

func (g *Guest) query(ctx context.Context, network, server string, q *dns.Msg) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, dnsWait)
	defer cancel()
	conn, err := g.DialContext(ctx, network, server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	client := dns.Client{Net: network, Timeout: dnsWait}
	r, _, err := client.ExchangeWithConnContext(ctx, q, &dns.Conn{Conn: conn})
	return r, err
}

// Resolver returns a resolver of the standard library whose queries come from
// the guest and go to the name server of the lease. It reads the host's
// /etc/hosts and /etc/nsswitch.conf, as the standard library does; LookupHost
// does not.
func (g *Guest) Resolver() *net.Resolver {
	return &net.Resolver{
		PreferGo: true,
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			servers := g.Lease().DNS
			if len(servers) == 0 {
				return nil, errors.New("the lease has no name server")
			}
			return g.DialContext(ctx, network, netip.AddrPortFrom(servers[0], 53).String())
		},
	}
}
