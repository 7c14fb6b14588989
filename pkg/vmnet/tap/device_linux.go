package tap

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// maxBatch is the longest batch in frames: each is a system call.
const maxBatch = 64

// fileTap names the tap's descriptor among a device's files.
const fileTap = "tap"

// A device is a tap on the bridge, a macvtap, or the host's end of a veth.
type device struct {
	net    *network
	info   vmnet.Info
	name   string // of the link
	direct bool   // the guest has the tap itself
	header bool   // the tap has a virtio-net header
	made   bool   // open made the link, and did not take it up
	pass   int    // bytes of it that our user has before each frame; 0: we cut and join

	io   sync.RWMutex // held for reading while file is used, for writing while it changes
	file *os.File     // the tap; nil when plugged and when closed
	fd   int          // file's
	gone bool         // closed

	large large

	events events

	mu      sync.Mutex // guards all following, and changes of the system
	plugged *remote    // the namespace of the guest's end; nil: not plugged, or nothing to do there
	onFiles func()
	answers *answers // nil: none
	ruled   bool     // there may be a table
	shaped  bool     // there is a queueing discipline
	forwards

	closeOnce sync.Once
	closeErr  error
}

var (
	_ vmnet.Device     = (*device)(nil)
	_ vmnet.TapHolder  = (*device)(nil)
	_ vmnet.Plugger    = (*device)(nil)
	_ vmnet.Ruler      = (*device)(nil)
	_ vmnet.FileHolder = (*device)(nil)
	_ vmnet.Forwarder  = (*device)(nil)
	_ vmnet.Leaver     = (*device)(nil)
)

func newDevice(n *network, name string, cfg *vmnet.Config) *device {
	size, header := n.info.MTU+vmnet.HeaderLen, 0
	if n.info.Offload && (cfg.Tap || cfg.VnetHeader) {
		size = offloadFrame
	}
	if n.info.Offload && cfg.VnetHeader && !cfg.Tap {
		header = vnetHeaderLen
		size += header
	}
	d := &device{net: n, name: name, fd: -1, direct: cfg.Tap, pass: header, info: vmnet.Info{VnetHeader: header,
		UUID: cfg.UUID, MAC: append(net.HardwareAddr(nil), cfg.MAC...),
		MTU: n.info.MTU, MaxPacketSize: size, ReadBatch: maxBatch, WriteBatch: maxBatch,
		Subnet: n.info.Subnet, Gateway: n.info.Gateway, Subnet6: n.info.Subnet6,
		HostInterfaces: []string{name},
	}}
	if n.bridgeName != "" {
		d.info.HostInterfaces = append(d.info.HostInterfaces, n.bridgeName)
	}
	return d
}

// open makes the device's link, or takes up the one of cfg.Files.
func (d *device) open(ctx context.Context, cfg *vmnet.Config) error {
	flags := uint16(unix.IFF_TAP | unix.IFF_NO_PI)
	// A guest that has the tap itself gets the header with offload; frames that pass
	// here are cut and joined. A macvtap has none: it is the uplink's.
	if d.header = d.direct && d.net.info.Offload || d.pass > 0 || !d.direct && d.net.bridge != 0; d.header {
		flags |= unix.IFF_VNET_HDR
	}
	if err := d.findTables(); err != nil {
		return err
	}
	if d.net.bridge == 0 {
		return d.openMacvtap(ctx, cfg.Files[fileTap], flags)
	}
	if f := cfg.Files[fileTap]; f != nil && isTap(f, d.name, flags) {
		d.file = f
	} else if plugged, err := d.leftover(); plugged || err != nil {
		return err // Plug takes it up
	} else if d.file, err = openTap(d.name, flags); err != nil {
		return err
	} else {
		d.made = true
	}
	return errors.Join(d.adopt(), d.net.makePort(d.name, d.info.MAC))
}

// findTables notes which tables of the device's name a process before this one left.
// They stay until others take their place or the device is closed: what is forwarded
// goes on.
func (d *device) findTables() (err error) {
	name := d.net.driver.names.table(d.name)
	if d.tabled, err = hasTable(nftables.TableFamilyINet, name); err != nil {
		return err
	}
	d.ruled, err = hasTable(nftables.TableFamilyNetdev, name)
	return err
}

// leftover removes a link of the device's name that a process before this one left:
// nobody here could read it any more. The host's end of a veth, plugged, stays.
func (d *device) leftover() (plugged bool, err error) {
	l, err := lookup(d.name)
	if err != nil || l == nil {
		return false, err
	}
	if l.Type() == "veth" && d.net.driver.names.ours(l.Attrs()) {
		return true, nil
	}
	return false, d.net.driver.removeOurs(d.name)
}

// adopt makes the new file ready for use.
func (d *device) adopt() error {
	take := func(fd int) error {
		d.fd = fd
		switch {
		case d.pass > 0:
			if err := setOffload(fd, d.pass); err != nil {
				return err
			}
		case d.header && !d.direct:
			if err := offerLarge(fd); err != nil {
				return err
			}
		}
		return unix.SetNonblock(fd, true)
	}
	if err := control(d.file, take); err != nil {
		return opErr("take up", d.name, err)
	}
	return d.events.init(d.file)
}

// Info implements vmnet.Device.
func (d *device) Info() vmnet.Info { return d.info }

// ReadBatch implements vmnet.Device.
func (d *device) ReadBatch(bufs [][]byte, sizes []int) (int, error) {
	d.io.RLock()
	defer d.io.RUnlock()
	if d.gone {
		return 0, vmnet.ErrClosed
	}
	d.large.readMu.Lock()
	defer d.large.readMu.Unlock()
	limit := min(len(bufs), len(sizes), maxBatch)
	for i, b := range bufs[:limit] {
		if len(b) < d.info.MaxPacketSize {
			return i, some(i, vmnet.InvalidArgument)
		}
		n, err := d.readOne(b[:d.info.MaxPacketSize])
		if err != nil {
			return i, some(i, err)
		}
		sizes[i] = n
	}
	return limit, nil
}

// some is the error of a batch of which n frames were moved: what comes next
// comes with the next batch.
func some(n int, err error) error {
	if n > 0 {
		return nil
	}
	return err
}

// WriteBatch implements vmnet.Device.
func (d *device) WriteBatch(frames [][]byte) (int, error) {
	d.io.RLock()
	defer d.io.RUnlock()
	if d.gone {
		return 0, vmnet.ErrClosed
	}
	d.large.writeMu.Lock()
	defer d.large.writeMu.Unlock()
	frames = frames[:min(len(frames), maxBatch)]
	good := len(frames)
	var bad error
	for i, f := range frames {
		if bad = d.refuse(f); bad != nil {
			good = i
			break
		}
	}
	if d.direct || d.file == nil {
		return good, bad
	}
	for sent := 0; sent < good; {
		n, err := d.writeSome(frames[sent:good])
		if sent += n; err != nil {
			return sent, err
		}
	}
	return good, bad
}

// refuse returns why a frame cannot be sent, or nil.
func (d *device) refuse(f []byte) error {
	switch {
	case len(f) > d.info.MaxPacketSize:
		return vmnet.PacketTooBig
	case len(f) < d.pass+vmnet.HeaderLen:
		return vmnet.InvalidArgument
	}
	return nil
}

// SetEventHandler implements vmnet.Device.
func (d *device) SetEventHandler(fn func()) error {
	d.io.RLock()
	gone, idle := d.gone, d.direct || d.file == nil
	d.io.RUnlock()
	if gone {
		return vmnet.ErrClosed
	}
	if idle {
		return nil // no frame will ever come
	}
	return d.events.set(fn)
}

// Tap implements vmnet.TapHolder.
func (d *device) Tap() (*os.File, error) {
	d.io.RLock()
	defer d.io.RUnlock()
	switch {
	case d.gone:
		return nil, vmnet.ErrClosed
	case !d.direct || d.file == nil:
		return nil, fmt.Errorf("tap of %s: it was not started for its guest: %w", d.name, errors.ErrUnsupported)
	}
	var dup int
	err := control(d.file, func(fd int) (err error) {
		dup, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
		return err
	})
	if err != nil {
		return nil, opErr("duplicate", d.name, err)
	}
	return os.NewFile(uintptr(dup), d.name), nil
}

// Files implements vmnet.FileHolder.
func (d *device) Files() map[string]*os.File {
	d.io.RLock()
	defer d.io.RUnlock()
	files := map[string]*os.File{}
	if d.file != nil {
		files[fileTap] = d.file
	}
	return files
}

// OnFiles implements vmnet.FileHolder.
func (d *device) OnFiles(fn func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.onFiles = fn
}

// Close implements vmnet.Device.
func (d *device) Close() error {
	d.closeOnce.Do(func() { d.closeErr = d.unmake() })
	return d.closeErr
}

// Leave implements vmnet.Leaver: link and rules stay.
func (d *device) Leave() error {
	d.closeOnce.Do(func() { d.closeErr = d.leave() })
	return d.closeErr
}

func (d *device) leave() error {
	file := d.retire()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.answers.close()
	d.answers = nil
	err := d.letPorts()
	closeFile(file)
	d.net.forget(d)
	return err
}

// retire ends the use of the tap and returns its file.
func (d *device) retire() *os.File {
	d.io.Lock()
	d.gone = true
	file := d.file
	d.file, d.fd = nil, -1
	d.io.Unlock()
	d.events.close()
	return file
}

// unmake takes everything of the device away.
func (d *device) unmake() error {
	file := d.retire()
	d.mu.Lock()
	defer d.mu.Unlock()
	err := errors.Join(d.endForwards(), d.endRules(), d.unplug())
	closeFile(file)
	// A guest that has the tap too keeps it alive: what has our mark goes.
	err = errors.Join(err, d.net.driver.removeOurs(d.name))
	d.net.forget(d)
	return err
}
