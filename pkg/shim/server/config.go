package server

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vmnet-cni/vmnet/pkg/ipam"
	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/shim/keeper"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// Config says how a Server works.
type Config struct {
	// Dirs are the directories, made by Dirs.Prepare. Required.
	Dirs shim.Dirs
	// Drivers by name: shim.DriverNetstack and so on. At least one.
	Drivers map[string]vmnet.Driver
	// Leases gives addresses. Required; the caller closes it, after Serve.
	Leases *ipam.Allocator
	// SharedLeases says that other machines' shims use the same store. Networks
	// then have to name their subnet, since each would choose another.
	SharedLeases bool
	// InUse tells which addresses and routes the host has, for the choice of a
	// subnet. Nil: none.
	InUse func(context.Context) ([]netip.Prefix, error)
	// Log gets one line for every change and every fault. Required.
	Log logrus.FieldLogger
	// Version is told in Status.
	Version string
	// IdleExit is how long Serve goes on without attachments and requests. Zero:
	// for ever.
	IdleExit time.Duration
	// OtherUsers lets users other than root and the shim's own call, as far as
	// the mode of the socket lets them connect. They see only what is theirs.
	OtherUsers bool
	// KeepSocket leaves the socket file when Serve ends, for a listener that a
	// service manager made, and the attachments' if it keeps Files too.
	KeepSocket bool
	// Files keeps the descriptors that the next shim needs. Nil: guests connect
	// again after a restart.
	Files FileStore
	// Keeper returns the process ID of the keeper. Nil: there is none.
	Keeper func() int
	// Kept are the descriptors that Files kept for an earlier shim. New owns them.
	Kept []keeper.File
	// Problems are told in Status beside those that the server finds.
	Problems []string
	// BootpdLeases is the file of macOS' DHCP server in which addresses of guests
	// are looked up to which the shim gives none. Empty: none.
	BootpdLeases string
	Limits       Limits
}

// Limits bound what clients can make the shim hold. Zero means the default.
type Limits struct {
	// Attachments, at most. 1024.
	Attachments int
	// UserAttachments, at most, of each user but root and the shim's own. A
	// quarter of Attachments.
	UserAttachments int
	// Networks that have attachments, at most. 256. Choices of subnets are kept
	// for four times as many.
	Networks int
	// Connections to the API at once. 256; more wait in the listener's backlog. A
	// user that is neither root nor the shim's own has a quarter of them; more are
	// closed.
	Connections int
	// Memory is how much the process may have in bytes when another attachment is
	// made; beyond it there is no other. Zero: no such limit.
	Memory int64
	// Operation bounds the time of one request, and of bringing one attachment
	// back. 60 s.
	Operation time.Duration
}

// Limits of HTTP that nobody needs to change.
const (
	maxBody     = 64 << 10         // bytes of a request's body
	maxHeader   = 16 << 10         // bytes of a request's head
	readTimeout = 10 * time.Second // for a request's head and body
	idleTimeout = 30 * time.Second // of a connection between requests
)

func (l Limits) withDefaults() Limits {
	set := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	set(&l.Attachments, 1024)
	set(&l.UserAttachments, max(1, l.Attachments/4))
	set(&l.Networks, 256)
	set(&l.Connections, 256)
	if l.Operation <= 0 {
		l.Operation = time.Minute
	}
	return l
}

func (c Config) check() error {
	switch {
	case c.Dirs.Runtime == "" || c.Dirs.State == "":
		return errors.New("shim: no directories")
	case len(c.Drivers) == 0:
		return errors.New("shim: no drivers")
	case c.Leases == nil:
		return errors.New("shim: no allocator")
	case c.Log == nil:
		return errors.New("shim: no log")
	}
	return nil
}
