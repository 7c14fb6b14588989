package netstack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"sort"
	"sync"
	"syscall"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// maxForwards bounds the forwarding rules of one device. Each holds a host
// socket.
const maxForwards = 256

// forwards are the forwarding rules of one device.
type forwards struct {
	d *device

	mu     sync.Mutex // guards all following fields; held while a rule is added or ends
	closed bool
	rules  map[forwardKey]*forward

	onFiles func()
	left    map[string]*os.File // sockets of an earlier process, by fileName
}

// A forwardKey is the host's port that a rule takes.
type forwardKey struct {
	protocol vmnet.Protocol
	external netip.AddrPort
}

// A forward is one rule at work.
type forward struct {
	rule   vmnet.Forward
	g      *gateway
	ctx    context.Context // done when the rule ends
	cancel context.CancelFunc
	socket io.Closer
	file   *os.File    // a duplicate of socket, for FileHolder; nil: none
	left   *os.File    // socket of an earlier process, for start; nil: none
	udp    *udpForward // nil for TCP
	wg     sync.WaitGroup
}

var _ vmnet.Forwarder = (*device)(nil)

func newForwards(d *device, left map[string]*os.File) *forwards {
	return &forwards{d: d, left: maps.Clone(left), rules: make(map[forwardKey]*forward)}
}

// AddForward implements vmnet.Forwarder for TCP and UDP. The guest sees the
// connections come from the gateway.
func (d *device) AddForward(ctx context.Context, f vmnet.Forward) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if d.forwards.isClosed() {
		return vmnet.ErrClosed
	}
	if err := d.checkForward(f); err != nil {
		return err
	}
	if err := d.forwards.add(f); err != nil {
		return fmt.Errorf("forward %s: %w", f, err)
	}
	d.forwards.changed()
	return nil
}

// RemoveForward implements vmnet.Forwarder.
func (d *device) RemoveForward(_ context.Context, f vmnet.Forward) error {
	err := d.forwards.remove(forwardKey{f.Protocol, f.External})
	if err == nil {
		d.forwards.changed()
	}
	return err
}

// Forwards implements vmnet.Forwarder. The rules are in the order of protocol
// and external address.
func (d *device) Forwards(context.Context) ([]vmnet.Forward, error) {
	return d.forwards.list()
}

func (d *device) checkForward(f vmnet.Forward) error {
	n := d.net
	switch {
	case n.gateway == nil:
		return fmt.Errorf("forward %s: a layer-2 network has no gateway: %w", f, errors.ErrUnsupported)
	case f.Protocol != vmnet.TCP && f.Protocol != vmnet.UDP:
		return fmt.Errorf("forward %s: protocol %s: want tcp or udp: %w", f, f.Protocol, errors.ErrUnsupported)
	case f.External.Port() == 0:
		return fmt.Errorf("forward %s: external port 0: want 1 to 65535: %w", f, vmnet.InvalidArgument)
	case !n.gateway.forwardsTo(f.Internal.Addr()) || f.Internal.Port() == 0:
		return fmt.Errorf("forward %s: internal %s: want a guest's address of the network and a port: %w", f, f.Internal, vmnet.InvalidArgument)
	}
	return nil
}

// forwardsTo reports whether a is an address of the network that a guest may have.
func (g *gateway) forwardsTo(a netip.Addr) bool {
	if a.Is4() {
		return g.policy.guestAddr(a)
	}
	return !a.IsLinkLocalUnicast() && g.policy.six.guestAddr(a)
}

func (fs *forwards) add(rule vmnet.Forward) error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	key := forwardKey{rule.Protocol, rule.External}
	switch {
	case fs.closed:
		return vmnet.ErrClosed
	case fs.rules[key] != nil:
		return fmt.Errorf("already forwarded to %s: %w", fs.rules[key].rule.Internal, syscall.EADDRINUSE)
	case len(fs.rules) >= maxForwards:
		return fmt.Errorf("%d rules of this interface already: %w", len(fs.rules), vmnet.BufferExhausted)
	}
	f := &forward{rule: rule, g: fs.d.net.gateway, left: fs.take(rule)}
	f.ctx, f.cancel = context.WithCancel(f.g.ctx)
	start := f.listenTCP
	if rule.Protocol == vmnet.UDP {
		start = f.listenUDP
	}
	if err := start(); err != nil {
		f.cancel()
		return err
	}
	fs.rules[key] = f
	return nil
}

func (fs *forwards) isClosed() bool {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return fs.closed
}

func (fs *forwards) remove(key forwardKey) error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.closed {
		return vmnet.ErrClosed
	}
	if f := fs.rules[key]; f != nil {
		f.end()
		delete(fs.rules, key)
	}
	return nil
}

func (fs *forwards) list() ([]vmnet.Forward, error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.closed {
		return nil, vmnet.ErrClosed
	}
	rules := make([]vmnet.Forward, 0, len(fs.rules))
	for _, f := range fs.rules {
		rules = append(rules, f.rule)
	}
	sort.Slice(rules, func(i, j int) bool {
		if rules[i].Protocol != rules[j].Protocol {
			return rules[i].Protocol < rules[j].Protocol
		}
		return rules[i].External.Compare(rules[j].External) < 0
	})
	return rules, nil
}

func (fs *forwards) expire(now time.Time) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for _, f := range fs.rules {
		if f.udp != nil {
			f.udp.table.expire(now)
		}
	}
}

// close ends all rules and refuses later ones.
func (fs *forwards) close() {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.closed, fs.onFiles = true, nil
	for _, file := range fs.left {
		_ = file.Close()
	}
	fs.left = nil
	for key, f := range fs.rules {
		f.end()
		delete(fs.rules, key)
	}
}

// end closes the host's socket and every connection that came by it, and waits.
func (f *forward) end() {
	f.cancel()
	_ = f.socket.Close()
	if f.file != nil {
		_ = f.file.Close()
	}
	if f.udp != nil {
		f.udp.table.endAll()
	}
	f.g.tcp.endWhere(func(t *tcpFlow) bool { return t.via == f })
	f.wg.Wait()
}
