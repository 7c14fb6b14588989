package tap

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/internal/names"
	"github.com/vmnet-cni/vmnet/internal/quota"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// Bounds of the forwarder.
const (
	maxQueries      = 1024            // of one network under way at once; more are refused
	maxGuestQueries = 256             // of one address
	queryTimeout    = 4 * time.Second // for one resolver; guests ask again after 5 (resolv.conf(5))
)

// A forwarder answers DNS on the gateway's addresses: the network's own names by
// itself, all else with what the host's resolvers answer.
type forwarder struct {
	names     *names.Table
	resolvers []netip.AddrPort // fixed; empty: those of file
	file      string
	queries   *quota.Quota[netip.Addr] // under way
	servers   []*dns.Server
	done      sync.WaitGroup
	ctx       context.Context // ends the queries under way
	stop      context.CancelFunc
}

// startDNS starts the forwarder. Where another program of the host has port 53
// already, that one answers the guests, or nobody.
func (n *network) startDNS() error {
	f := &forwarder{resolvers: n.info.Resolvers, file: n.driver.cfg.ResolvConf, queries: quota.New[netip.Addr](maxQueries, maxGuestQueries)}
	f.names = names.New(n.info.Domain, n.info.Subnet, n.info.Subnet6)
	if err := f.names.Reserve(vmnet.NameGateway, n.info.Gateway, vmnet.FirstAddr(n.info.Subnet6)); err != nil {
		return fmt.Errorf("domain %q: %w", n.info.Domain, err)
	}
	f.ctx, f.stop = context.WithCancel(context.Background())
	n.dns = f
	for _, p := range n.gateways() {
		if p.Addr().IsLinkLocalUnicast() {
			continue
		}
		err := f.listen(p.Addr(), n.bridgeName)
		if errors.Is(err, unix.EADDRINUSE) || errors.Is(err, fs.ErrPermission) {
			n.driver.cfg.Log("network %s: DNS at the gateway is not ours: %v", n.info.Name, err)
			continue
		}
		if err != nil {
			return opErr("listen for DNS on", p.Addr().String(), err)
		}
	}
	return nil
}

// SetNames implements vmnet.Namer.
func (n *network) SetNames(key string, list []string, addrs []netip.Addr) error {
	if n.dns == nil {
		return fmt.Errorf("names %q: the network has no gateway that could answer: %w", list, errors.ErrUnsupported)
	}
	return n.dns.names.Set(key, list, addrs)
}

// RemoveNames implements vmnet.Namer.
func (n *network) RemoveNames(key string) {
	if n.dns != nil {
		n.dns.names.Remove(key)
	}
}

// stopDNS ends the forwarder and waits for it.
func (n *network) stopDNS() error {
	if n.dns == nil {
		return nil
	}
	f := n.dns
	f.stop()
	for _, s := range f.servers {
		_ = s.Shutdown() // fails only when it never ran
	}
	f.done.Wait()
	return nil
}

func (f *forwarder) listen(a netip.Addr, bridge string) error {
	at := netip.AddrPortFrom(a, 53).String()
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		// Only what comes by the bridge, whatever the host's routes are.
		cerr := c.Control(func(fd uintptr) {
			err = unix.SetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE, bridge)
		})
		return errors.Join(cerr, err)
	}}
	pc, err := lc.ListenPacket(f.ctx, "udp", at)
	if err != nil {
		return err
	}
	l, err := lc.Listen(f.ctx, "tcp", at)
	if err != nil {
		return errors.Join(err, pc.Close())
	}
	for _, s := range []*dns.Server{{PacketConn: pc, Handler: f}, {Listener: newGate(f.ctx, l), Handler: f}} {
		started := make(chan struct{})
		s.NotifyStartedFunc = sync.OnceFunc(func() { close(started) })
		f.servers = append(f.servers, s)
		f.done.Go(func() {
			defer s.NotifyStartedFunc()
			_ = s.ActivateAndServe() // ends with Shutdown
		})
		<-started
	}
	return nil
}

// ServeDNS implements dns.Handler.
func (f *forwarder) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	if len(q.Question) == 1 && f.names.Owns(q.Question[0].Name) {
		answer := f.names.Answer(q)
		if w.LocalAddr().Network() == "udp" {
			answer.Truncate(names.UDPSize(q))
		}
		_ = w.WriteMsg(answer)
		return
	}
	answer := new(dns.Msg).SetRcode(q, dns.RcodeServerFailure)
	if who := hostOf(w.RemoteAddr()); !f.queries.Take(who) {
		answer.Rcode = dns.RcodeRefused
	} else {
		defer f.queries.Give(who)
		if a := f.ask(q, w.LocalAddr().Network()); a != nil {
			answer = a
		}
	}
	answer.Id = q.Id
	_ = w.WriteMsg(answer) // a guest that is gone wants no answer
}

// ask returns the answer of the first resolver that has one, or nil.
func (f *forwarder) ask(q *dns.Msg, network string) *dns.Msg {
	c := dns.Client{Net: network, Timeout: queryTimeout}
	for _, r := range f.upstream() {
		if a, err := f.exchange(&c, q, r.String()); err == nil {
			return a
		}
	}
	return nil
}

// exchange asks one resolver. It ends with the forwarder: package dns looks at a
// context only before it waits for the answer.
func (f *forwarder) exchange(c *dns.Client, q *dns.Msg, resolver string) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(f.ctx, queryTimeout)
	defer cancel()
	conn, err := c.DialContext(ctx, resolver)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })() // which ends the wait
	a, _, err := c.ExchangeWithConnContext(ctx, q, conn)
	return a, err
}

// upstream returns the resolvers to ask, three at most as resolv.conf(5) has it.
func (f *forwarder) upstream() []netip.AddrPort {
	if len(f.resolvers) > 0 {
		return f.resolvers
	}
	list, err := resolvers(f.file)
	if err != nil || len(list) == 0 {
		list = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:53")} // the default of resolv.conf(5)
	}
	return list
}

// resolvers reads name servers from a file as resolv.conf(5).
func resolvers(path string) (list []netip.AddrPort, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("resolvers: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if len(words) < 2 || words[0] != "nameserver" || len(list) == 3 {
			continue
		}
		if a, err := netip.ParseAddr(words[1]); err == nil {
			list = append(list, netip.AddrPortFrom(a, 53))
		}
	}
	return list, nil
}
