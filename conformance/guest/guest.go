package guest

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/link/qdisc/fifo"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"github.com/vmnet-cni/vmnet/pkg/relay"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// nic is the number of the guest's only network card in its stack.
const nic tcpip.NICID = 1

// queueLen is how many packets wait to be sent: 4 MiB of connection and more.
const queueLen = 4096

// Config says what guest to make.
type Config struct {
	// MAC is the address of the guest's network card.
	MAC net.HardwareAddr
	// MTU is the largest IP packet in bytes, until a lease tells. Zero: 1500.
	MTU int
	// Offload has the guest send segments of up to 60 KiB as one frame, with their
	// checksums open. The host's side must have agreed.
	Offload bool
	// VnetHeader has a virtio-net header of 12 bytes before each frame, both ways. The
	// host's side must have agreed, and the port must take frames as much larger.
	VnetHeader bool
	// Hostname is told to the DHCP server. Empty: not told.
	Hostname string
}

// A Guest is a TCP/IP stack behind a frame socket. Its methods may be called
// from several goroutines.
type Guest struct {
	cfg   Config
	link  *link
	stack *stack.Stack
	http  *http.Client

	dhcpMu sync.Mutex // one exchange with the DHCP server at a time

	mu    sync.Mutex // guards lease
	lease Lease

	closeOnce sync.Once
	closeErr  error
}

// New returns a guest on port, which it owns from now on, also when New fails.
// The guest has no address until DHCP or SetLease gives it one.
func New(port relay.Port, cfg Config) (*Guest, error) {
	if cfg.MTU == 0 {
		cfg.MTU = vmnet.DefaultMTU
	}
	if len(cfg.MAC) != 6 || cfg.MAC[0]&1 != 0 {
		return nil, errors.Join(fmt.Errorf("guest: mac %q: want a unicast address of 6 bytes", cfg.MAC), port.Close())
	}
	g := &Guest{cfg: cfg, link: newLink(port, cfg)}
	g.stack = stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, arp.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4},
	})
	err := g.tune()
	if err == nil {
		err = g.plug()
	}
	if err != nil {
		g.Close()
		return nil, fmt.Errorf("guest: %w", err)
	}
	g.http = &http.Client{Transport: &http.Transport{DialContext: g.DialContext, MaxIdleConns: 4}}
	g.link.start()
	return g, nil
}

// plug puts the card into the stack. The queue lets packets of one connection be
// sent in one batch: without it there is a system call for each (measured: a half
// to a fifth of the throughput). The stack closes it with the card.
func (g *Guest) plug() error {
	queue := fifo.New(g.link, 1, queueLen)
	err := g.stack.CreateNICWithOptions(nic, g.link, stack.NICOptions{Name: "eth0", QDisc: queue})
	if err != nil {
		queue.Close()
	}
	return failure(err)
}

// tune sets what Linux has set too: selective acknowledgements and buffers of up
// to 4 MiB (tcp_rmem, tcp_wmem).
func (g *Guest) tune() error {
	sack := tcpip.TCPSACKEnabled(true)
	receive := tcpip.TCPReceiveBufferSizeRangeOption{Min: 4 << 10, Default: 1 << 20, Max: 4 << 20}
	send := tcpip.TCPSendBufferSizeRangeOption{Min: 4 << 10, Default: 1 << 20, Max: 4 << 20}
	for _, option := range []tcpip.SettableTransportProtocolOption{&sack, &receive, &send} {
		if err := g.stack.SetTransportProtocolOption(tcp.ProtocolNumber, option); err != nil {
			return fmt.Errorf("set %T: %w", option, failure(err))
		}
	}
	return nil
}

// MAC returns the address of the guest's network card.
func (g *Guest) MAC() net.HardwareAddr { return g.cfg.MAC }

// Lease returns the lease that the guest is configured with; zero before DHCP.
func (g *Guest) Lease() Lease {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.lease
}

// Stats returns what passed the guest's network card.
func (g *Guest) Stats() Stats { return g.link.stats() }

// Gone returns a channel that is closed when frames can no longer be read: the
// host's side has gone, or the guest was closed. A datagram socket does not tell
// that its peer has gone.
func (g *Guest) Gone() <-chan struct{} { return g.link.done }

// Close ends every connection, closes the port and waits until nothing of the
// guest is left. It is idempotent.
func (g *Guest) Close() error {
	g.closeOnce.Do(func() {
		if g.http != nil {
			g.http.CloseIdleConnections()
		}
		g.closeErr = g.link.port.Close()
		// First the reader: the stack waits for it too, with a lock that the reader
		// takes for every packet (gVisor's Stack.Wait and FindNICNameFromID).
		g.link.Wait()
		g.stack.Close()
		g.stack.Wait()
	})
	return g.closeErr
}

// failure returns a gVisor error as an error; nil stays nil.
func failure(err tcpip.Error) error {
	if err == nil {
		return nil
	}
	return errors.New(err.String())
}
