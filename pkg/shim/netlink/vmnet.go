package netlink

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// Vmnet is a link that the shim makes: the interface of a virtual machine on a
// network of vmnet. It is no interface of the host; frames of it come from the
// shim (Attachment.SocketPath, or shim.Client.Frames). LinkAdd makes it and sets
// what the shim chose; LinkDel ends it. Other functions do not know it, and nor do
// the methods of a Handle on Linux, which are upstream's.
type Vmnet struct {
	// LinkAttrs: Name is the ifname of the attachment. HardwareAddr and MTU are
	// wanted where they are set; LinkAdd sets both to what is.
	LinkAttrs
	// Network and ContainerID name the attachment together with Name. Network
	// stands in for Request.Network.Name where that is empty.
	Network, ContainerID string
	// Request is the rest of what is wanted: mode, subnet, frames, addresses. Its
	// zero value is a shared network with a subnet of the shim's choice.
	Request shim.AttachRequest
	// Client is the shim to ask. It stays the caller's. Nil: the shim of this
	// user, which must be running.
	Client *shim.Client
	// Attachment is what the shim made. LinkAdd sets it.
	Attachment shim.Attachment
}

// Attrs returns the attributes, which may be changed.
func (v *Vmnet) Attrs() *LinkAttrs { return &v.LinkAttrs }

// Type returns "vmnet".
func (v *Vmnet) Type() string { return "vmnet" }

// add asks the shim for the attachment. It may be repeated.
func (v *Vmnet) add() error {
	return v.ask("add", func(c *shim.Client) error {
		req := v.Request
		if req.Network.Name == "" {
			req.Network.Name = v.Network
		}
		if len(v.HardwareAddr) > 0 {
			req.MAC = v.HardwareAddr.String()
		}
		if v.MTU != 0 {
			req.Network.MTU = v.MTU
		}
		a, err := c.Attach(context.Background(), v.Network, v.ContainerID, v.Name, req)
		if err != nil {
			return err
		}
		mac, err := net.ParseMAC(a.MAC)
		if err != nil {
			return err
		}
		v.Attachment, v.HardwareAddr, v.MTU = a, mac, a.MTU
		return nil
	})
}

// del ends the attachment. One that is not there is a LinkNotFoundError, as with
// every other link.
func (v *Vmnet) del() error {
	return v.ask("delete", func(c *shim.Client) error {
		_, err := c.Attachment(context.Background(), v.Network, v.ContainerID, v.Name)
		if e := (*shim.Error)(nil); errors.As(err, &e) && e.Code == shim.CodeNotFound {
			return linkNotFound("Link not found")
		}
		if err != nil {
			return err
		}
		return c.Detach(context.Background(), v.Network, v.ContainerID, v.Name)
	})
}

// ask runs fn with a client, which bounds each of its calls itself.
func (v *Vmnet) ask(verb string, fn func(*shim.Client) error) error {
	c := v.Client
	if c == nil {
		dirs, err := shim.FindDirs()
		if err != nil {
			return fmt.Errorf("%s link %s: %w", verb, v.Name, err)
		}
		c = shim.NewClient(dirs.ShimSocket())
		defer c.Close()
	}
	if err := fn(c); err != nil {
		return fmt.Errorf("%s link %s/%s/%s: %w", verb, v.Network, v.ContainerID, v.Name, err)
	}
	return nil
}
