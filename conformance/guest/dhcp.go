package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// ErrNAK says that the server refused the address that was asked for.
var ErrNAK = errors.New("the DHCP server said no (NAK)")

// Retransmission: at first after a quarter of a second, then half as often each
// time, for at most exchangeTime where the context says nothing.
const (
	firstWait    = 250 * time.Millisecond
	lastWait     = 2 * time.Second
	exchangeTime = 15 * time.Second
)

// asked are the options that a Linux client asks for, and more.
var asked = []dhcpv4.OptionCode{
	dhcpv4.OptionSubnetMask, dhcpv4.OptionRouter, dhcpv4.OptionDomainNameServer, dhcpv4.OptionHostName,
	dhcpv4.OptionDomainName, dhcpv4.OptionInterfaceMTU, dhcpv4.OptionDNSDomainSearchList,
	dhcpv4.OptionClasslessStaticRoute, dhcpv4.OptionRenewTimeValue, dhcpv4.OptionRebindingTimeValue,
}

// DHCP gets an address, DISCOVER to ACK, and configures the guest with it.
func (g *Guest) DHCP(ctx context.Context) (Lease, error) {
	return g.lock(ctx, "dhcp", func(ctx context.Context) (*dhcpv4.DHCPv4, error) {
		discover, err := g.message(dhcpv4.MessageTypeDiscover)
		if err != nil {
			return nil, err
		}
		offer, err := g.exchange(ctx, discover, g.broadcast(), dhcpv4.MessageTypeOffer)
		if err != nil {
			return nil, err
		}
		request, err := g.message(dhcpv4.MessageTypeRequest,
			dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(offer.YourIPAddr)),
			dhcpv4.WithOption(dhcpv4.OptServerIdentifier(offer.ServerIdentifier())))
		if err != nil {
			return nil, err
		}
		request.TransactionID = discover.TransactionID
		return g.exchange(ctx, request, g.broadcast(), dhcpv4.MessageTypeAck)
	})
}

// Reboot asks for an address that the guest had before, in state INIT-REBOOT.
func (g *Guest) Reboot(ctx context.Context, addr netip.Addr) (Lease, error) {
	return g.lock(ctx, "reboot", func(ctx context.Context) (*dhcpv4.DHCPv4, error) {
		m, err := g.message(dhcpv4.MessageTypeRequest, dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(addr.AsSlice())))
		if err != nil {
			return nil, err
		}
		return g.exchange(ctx, m, g.broadcast(), dhcpv4.MessageTypeAck)
	})
}

// Renew extends the lease, in state RENEWING: unicast to the server.
func (g *Guest) Renew(ctx context.Context) (Lease, error) {
	return g.lock(ctx, "renew", func(ctx context.Context) (*dhcpv4.DHCPv4, error) {
		to, err := g.server(ctx)
		if err != nil {
			return nil, err
		}
		m, err := g.message(dhcpv4.MessageTypeRequest, dhcpv4.WithClientIP(to.src.AsSlice()))
		if err != nil {
			return nil, err
		}
		return g.exchange(ctx, m, to, dhcpv4.MessageTypeAck)
	})
}

// Release gives the lease back. There is no answer. The guest keeps its address
// until the next lease.
func (g *Guest) Release(ctx context.Context) error {
	g.dhcpMu.Lock()
	defer g.dhcpMu.Unlock()
	to, err := g.server(ctx)
	if err != nil {
		return fmt.Errorf("release: %w", err)
	}
	m, err := g.message(dhcpv4.MessageTypeRelease, dhcpv4.WithClientIP(to.src.AsSlice()),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(to.dst.AsSlice())))
	if err != nil {
		return fmt.Errorf("release: %w", err)
	}
	g.send(m, to)
	return nil
}

// lock runs an exchange that ends with an ACK, alone, and applies the lease.
func (g *Guest) lock(ctx context.Context, what string, run func(context.Context) (*dhcpv4.DHCPv4, error)) (Lease, error) {
	g.dhcpMu.Lock()
	defer g.dhcpMu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, exchangeTime)
	defer cancel()
	ack, err := run(ctx)
	if err != nil {
		return Lease{}, fmt.Errorf("%s: %w", what, err)
	}
	lease, err := parseLease(ack)
	if err == nil {
		err = g.SetLease(lease)
	}
	if err != nil {
		return Lease{}, fmt.Errorf("%s: %w", what, err)
	}
	return lease, nil
}

// A way says between whom messages go.
type way struct {
	src, dst netip.Addr
	mac      tcpip.LinkAddress
}

func (g *Guest) broadcast() way {
	return way{netip.IPv4Unspecified(), netip.AddrFrom4([4]byte{255, 255, 255, 255}), header.EthernetBroadcastAddress}
}

// server returns the way to the server that gave the lease.
func (g *Guest) server(ctx context.Context) (way, error) {
	l := g.Lease()
	if !l.Server.IsValid() {
		return way{}, errors.New("no lease of a DHCP server")
	}
	mac, err := g.ARP(ctx, l.Server)
	return way{l.Address.Addr(), l.Server, tcpip.LinkAddress(mac)}, err
}

// message returns a message of the guest.
func (g *Guest) message(kind dhcpv4.MessageType, more ...dhcpv4.Modifier) (*dhcpv4.DHCPv4, error) {
	mods := append([]dhcpv4.Modifier{
		dhcpv4.WithHwAddr(g.cfg.MAC), dhcpv4.WithMessageType(kind), dhcpv4.WithRequestedOptions(asked...),
	}, more...)
	if g.cfg.Hostname != "" {
		mods = append(mods, dhcpv4.WithOption(dhcpv4.OptHostName(g.cfg.Hostname)))
	}
	return dhcpv4.New(mods...)
}

func (g *Guest) send(m *dhcpv4.DHCPv4, to way) {
	g.link.send(dhcpFrame(g.link.mac, to.mac, to.src, to.dst, m.ToBytes()))
}

// exchange sends m, again and again, until an answer of the kind has come.
func (g *Guest) exchange(ctx context.Context, m *dhcpv4.DHCPv4, to way, kind dhcpv4.MessageType) (*dhcpv4.DHCPv4, error) {
	answers := make(chan *dhcpv4.DHCPv4, 8)
	catch := func(frame []byte) bool {
		data, ok := dhcpReply(frame)
		if !ok {
			return false
		}
		if r, err := dhcpv4.FromBytes(data); err == nil && g.isAnswer(m, r) {
			select {
			case answers <- r:
			default: // more than enough wait already
			}
		}
		return true
	}
	g.link.catch.Store(&catch)
	defer g.link.catch.Store(nil)
	for wait := firstWait; ; wait = min(2*wait, lastWait) {
		g.send(m, to)
		again := time.NewTimer(wait)
		r, err := g.await(ctx, answers, again.C, kind)
		again.Stop()
		if r != nil || err != nil {
			return r, err
		}
	}
}

// await returns the next answer of the kind, or nothing when it is time to ask
// again.
func (g *Guest) await(ctx context.Context, answers <-chan *dhcpv4.DHCPv4, again <-chan time.Time, kind dhcpv4.MessageType) (*dhcpv4.DHCPv4, error) {
	for {
		select {
		case r := <-answers:
			switch r.MessageType() {
			case kind:
				return r, nil
			case dhcpv4.MessageTypeNak:
				return nil, fmt.Errorf("%w: %s", ErrNAK, r.Message())
			}
		case <-again:
			return nil, nil
		case <-g.link.done:
			return nil, fmt.Errorf("wait for %s: %w", kind, net.ErrClosed)
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for %s: %w", kind, ctx.Err())
		}
	}
}

// isAnswer reports whether r answers m.
func (g *Guest) isAnswer(m, r *dhcpv4.DHCPv4) bool {
	return r.OpCode == dhcpv4.OpcodeBootReply && r.TransactionID == m.TransactionID &&
		bytes.Equal(r.ClientHWAddr, g.cfg.MAC)
}
