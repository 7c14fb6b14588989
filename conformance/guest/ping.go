package guest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// ARP returns the MAC of a neighbour. A neighbour that was asked before is not
// asked again soon, as the cache of any guest has it.
func (g *Guest) ARP(ctx context.Context, addr netip.Addr) (net.HardwareAddr, error) {
	result := make(chan stack.LinkResolutionResult, 2)
	err := g.stack.GetLinkAddress(nic, address(addr), tcpip.Address{}, ipv4.ProtocolNumber,
		func(r stack.LinkResolutionResult) { result <- r })
	if _, waiting := err.(*tcpip.ErrWouldBlock); err != nil && !waiting {
		return nil, fmt.Errorf("arp %s: %w", addr, failure(err))
	}
	select {
	case r := <-result:
		if r.Err != nil {
			return nil, fmt.Errorf("arp %s: %w", addr, failure(r.Err))
		}
		return net.HardwareAddr(r.LinkAddress), nil
	case <-ctx.Done():
		return nil, fmt.Errorf("arp %s: %w", addr, ctx.Err())
	}
}

// Ping sends one ICMP echo request and returns how long the answer took. It
// sends no second one: a request that gets lost ends with ctx.
func (g *Guest) Ping(ctx context.Context, addr netip.Addr) (time.Duration, error) {
	rtt, err := g.ping(ctx, addr, []byte("vmnet conformance guest"))
	if err != nil {
		return 0, fmt.Errorf("ping %s: %w", addr, err)
	}
	return rtt, nil
}

func (g *Guest) ping(ctx context.Context, addr netip.Addr, data []byte) (time.Duration, error) {
	var wq waiter.Queue
	ep, terr := g.stack.NewEndpoint(icmp.ProtocolNumber4, ipv4.ProtocolNumber, &wq)
	if terr != nil {
		return 0, failure(terr)
	}
	defer ep.Close()
	entry, readable := waiter.NewChannelEntry(waiter.ReadableEvents | waiter.EventErr)
	wq.EventRegister(&entry)
	defer wq.EventUnregister(&entry)

	request := make([]byte, header.ICMPv4MinimumSize+len(data))
	header.ICMPv4(request).SetType(header.ICMPv4Echo)
	header.ICMPv4(request).SetSequence(1)
	copy(request[header.ICMPv4MinimumSize:], data)
	sent := time.Now()
	to := tcpip.FullAddress{NIC: nic, Addr: address(addr)}
	if _, err := ep.Write(bytes.NewReader(request), tcpip.WriteOptions{To: &to}); err != nil {
		return 0, failure(err)
	}
	for {
		reply, err := readReply(ep)
		if err != nil {
			return 0, err
		}
		if len(reply) == len(request) && header.ICMPv4(reply).Type() == header.ICMPv4EchoReply &&
			binary.BigEndian.Uint16(reply[6:]) == 1 && bytes.Equal(reply[header.ICMPv4MinimumSize:], data) {
			return time.Since(sent), nil
		}
		if reply != nil {
			continue
		}
		select {
		case <-readable:
		case <-g.link.done:
			return 0, net.ErrClosed
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// readReply returns the next message of the endpoint, or nil when there is none.
func readReply(ep tcpip.Endpoint) ([]byte, error) {
	var b bytes.Buffer
	_, err := ep.Read(&b, tcpip.ReadOptions{})
	switch err.(type) {
	case nil:
		return b.Bytes(), nil
	case *tcpip.ErrWouldBlock:
		if err := ep.LastError(); err != nil {
			return nil, failure(err)
		}
		return nil, nil
	case *tcpip.ErrClosedForReceive:
		return nil, io.EOF
	}
	return nil, errors.New(err.String())
}
