package netstack

import (
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// One guest that dials what does not answer leaves the others their share.
func TestDials(t *testing.T) {
	nat := newTCPNAT(&gateway{stack: stack.New(stack.Options{TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol}})})
	defer nat.g.stack.Destroy()
	syn := func(guest byte, port int) stack.TransportEndpointID {
		return stack.TransportEndpointID{RemoteAddress: tcpip.AddrFrom4([4]byte{10, 0, 0, guest}), RemotePort: uint16(port), LocalPort: 80}
	}
	n := 0
	for port := range maxDialing {
		if _, ok := nat.dials(syn(2, port), nil); ok {
			n++
		}
	}
	if n != maxDialing/4 {
		t.Errorf("one guest dials %d at once, want %d", n, maxDialing/4)
	}
	if known, ok := nat.dials(syn(2, 0), nil); !known || !ok {
		t.Error("a SYN that came again is not known")
	}
	if known, ok := nat.dials(syn(3, 0), []byte("quote")); known || !ok {
		t.Error("another guest may not dial")
	}
	if q := nat.dialed(syn(3, 0)); string(q) != "quote" || nat.dialed(syn(3, 0)) != nil {
		t.Errorf("quote %q", q)
	}
	for port := range n {
		nat.dialed(syn(2, port))
	}
	if len(nat.dialing) != 0 || len(nat.guests) != 0 {
		t.Errorf("%d and %d are left", len(nat.dialing), len(nat.guests))
	}
}
