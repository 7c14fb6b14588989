// Package guest is a small guest in Go: gVisor's TCP/IP stack behind a frame
// socket, doing what a Linux guest does with its network card, so that a test or
// a demo sees the network as a virtual machine does, in milliseconds and
// without a machine.
//
// It asks for its address by DHCP on raw frames before the stack has one, as a
// client must; resolves by ARP; pings; looks names up at the name server of the
// lease; and dials and listens with the interfaces of package net.
//
//	g, err := guest.New(port, guest.Config{MAC: mac})
//	…
//	defer g.Close()
//	lease, err := g.DHCP(ctx)
//	rtt, err := g.Ping(ctx, lease.Router)
//	resp, err := g.HTTPClient().Get("http://192.168.127.1/")
package guest
