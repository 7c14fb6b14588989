//go:build (darwin || linux) && (amd64 || arm64)

package framework

import (
	"cmp"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/ebitengine/purego"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// device implements vmnet.Device and vmnet.Forwarder.
//
// The interface may be named in a call into C only while one of ctlMu, readMu and
// writeMu is held and closed is not set. Close sets closed, takes ctlMu once so that
// nothing is under way, then the other two, and stops the interface.
type device struct {
	net    *network
	info   vmnet.Info
	ifc    uintptr // interface_ref
	queue  uintptr // serial dispatch queue of this device; 0: drain has given it up
	handle uintptr // by which events find it
	header int     // bytes before the Ethernet header of each frame
	quiet  bool    // router advertisements of the system are not for the guest
	pins   runtime.Pinner

	closed  atomic.Bool
	pausing atomic.Bool // a handler is being ended: reads find nothing

	readMu  sync.Mutex // guards rx
	rx      *batch
	writeMu sync.Mutex // guards tx
	tx      *batch

	setMu     sync.Mutex // one SetEventHandler at a time; taken before ctlMu and runMu
	ctlMu     sync.Mutex // guards listening, and calls that are not read or write
	listening bool       // the framework has our event callback

	runMu sync.Mutex // held while the handler runs; guards fn
	fn    func()

	closeOnce sync.Once
	closeErr  error
}

// attach makes a device of the interface that s started.
func attach(n *network, s *startCall, header bool) *device {
	d := &device{net: n, ifc: s.ifc, queue: s.queue}
	d.handle = newHandle(d)
	p := s.params
	size := int(cmp.Or(p.maxPacket, uint64(n.cfg.MTU+vmnet.HeaderLen)))
	if header {
		// Whether the framework's figure counts the header is not known.
		d.header = virtioHeaderLen
		size += virtioHeaderLen
	}
	d.quiet = n.kind == classic && n.cfg.Mode == vmnet.Shared && !n.cfg.Layer2
	d.info = vmnet.Info{
		MTU:           int(p.mtu),
		MaxPacketSize: size,
		VnetHeader:    d.header,
		ReadBatch:     batchLen(p.readMax, size),
		WriteBatch:    batchLen(p.writeMax, size),
	}
	d.rx, d.tx = d.newBatch(d.info.ReadBatch), d.newBatch(d.info.WriteBatch)
	return d
}

// newBatch returns a batch whose memory stays where it is until Close, and whose
// arguments never change.
func (d *device) newBatch(n int) *batch {
	b := newBatch(n)
	d.pins.Pin(unsafe.SliceData(b.descs))
	d.pins.Pin(unsafe.SliceData(b.iovs))
	d.pins.Pin(&b.count)
	b.args = [3]uintptr{d.ifc, uintptr(unsafe.Pointer(unsafe.SliceData(b.descs))), uintptr(unsafe.Pointer(&b.count))}
	return b
}

// accept fills in the device's Info and compares what was granted with what was
// asked for.
func (d *device) accept(cfg vmnet.Config, p params) error {
	n, i := d.net, &d.info
	i.UUID, i.MAC = cfg.UUID, slices.Clone(cfg.MAC)
	if i.MAC == nil && n.kind != logical {
		i.MAC = p.mac // on logical networks a new one at every start
	}
	if i.MAC == nil {
		i.MAC = vmnet.MACFromUUID(cfg.UUID)
	}
	if i.MTU == 0 {
		i.MTU = cmp.Or(n.cfg.MTU, vmnet.DefaultMTU)
	}
	if n.cfg.MTU != 0 && i.MTU != n.cfg.MTU {
		return fmt.Errorf("mtu %d: the system granted %d: configure that one", n.cfg.MTU, i.MTU)
	}
	granted := prefixOf(p.start, p.mask)
	if n.kind == classic && n.cfg.Mode != vmnet.Bridged && !n.cfg.Layer2 && granted.IsValid() {
		if err := acceptSubnet(n.cfg, granted, p.start); err != nil {
			return err
		}
		n.grant(granted, p.start, p.end)
	}
	if n.kind == classic && n.cfg.Mode == vmnet.Shared && !n.cfg.Layer2 && p.nat66.IsValid() {
		if err := compare(n.cfg.Subnet6, netip.PrefixFrom(p.nat66, 64).Masked()); err != nil {
			return err
		}
	}
	if info := n.Info(); !n.cfg.Layer2 {
		i.Subnet, i.Gateway, i.Subnet6 = info.Subnet, info.Gateway, info.Subnet6
	}
	return nil
}

// acceptSubnet returns an error when another subnet or gateway was granted.
func acceptSubnet(cfg vmnet.NetworkConfig, granted netip.Prefix, gateway netip.Addr) error {
	if err := compare(cfg.Subnet, granted); err != nil {
		return err
	}
	if cfg.Subnet.IsValid() && cfg.Gateway != gateway {
		return fmt.Errorf("gateway %s: the system granted %s: configure that one", cfg.Gateway, gateway)
	}
	return nil
}

// Info implements vmnet.Device.
func (d *device) Info() vmnet.Info { return d.info }

// ReadBatch implements vmnet.Device. It allocates nothing.
func (d *device) ReadBatch(bufs [][]byte, sizes []int) (int, error) {
	d.readMu.Lock()
	defer d.readMu.Unlock()
	if d.closed.Load() {
		return 0, vmnet.ErrClosed
	}
	if d.pausing.Load() {
		return 0, vmnet.ErrNoPackets
	}
	bufs = bufs[:min(len(bufs), len(d.rx.descs))]
	if len(bufs) == 0 {
		return 0, vmnet.InvalidArgument
	}
	n, err := d.receive(bufs, sizes)
	for err == nil && d.quiet {
		if n = d.dropAdverts(bufs, sizes, n); n > 0 {
			break
		}
		n, err = d.receive(bufs, sizes)
	}
	return n, err
}

// receive asks the framework once; it holds readMu.
func (d *device) receive(bufs [][]byte, sizes []int) (int, error) {
	d.rx.load(bufs)
	r, _, _ := purego.SyscallN(d.net.drv.api.read, d.rx.args[:]...)
	if code := vmnet.Code(r); code != success {
		return 0, code
	}
	n := int(d.rx.count)
	if n == 0 {
		return 0, vmnet.ErrNoPackets
	}
	if n < 0 || n > len(bufs) {
		return 0, fmt.Errorf("vmnet_read: %d frames for %d buffers: %w", n, len(bufs), vmnet.Failure)
	}
	for k := range n {
		// The frame's length is vm_pkt_size; iov_len is not (socket_vmnet).
		sizes[k] = int(d.rx.descs[k].size)
		if sizes[k] > len(bufs[k]) {
			sizes[k] = len(bufs[k])
			d.net.drv.truncated.Add(1)
		}
	}
	return n, nil
}

// WriteBatch implements vmnet.Device. It allocates nothing.
func (d *device) WriteBatch(frames [][]byte) (int, error) {
	d.writeMu.Lock()
	defer d.writeMu.Unlock()
	if d.closed.Load() {
		return 0, vmnet.ErrClosed
	}
	frames = frames[:min(len(frames), len(d.tx.descs))]
	n, bad := sendable(frames, &d.info, d.header)
	if n == 0 {
		return 0, bad
	}
	sent, err := d.send(frames[:n])
	if err != nil {
		return sent, err
	}
	return sent, bad
}

// send passes good frames on; it holds writeMu.
func (d *device) send(frames [][]byte) (int, error) {
	d.tx.load(frames)
	r, _, _ := purego.SyscallN(d.net.drv.api.write, d.tx.args[:]...)
	sent := int(d.tx.count)
	if code := vmnet.Code(r); code != success {
		// What went out of a batch that failed is known only when the count says
		// that it was not all.
		if sent < 0 || sent >= len(frames) {
			sent = 0
		}
		return sent, code
	}
	if sent < 0 || sent > len(frames) {
		return 0, fmt.Errorf("vmnet_write: %d of %d frames: %w", sent, len(frames), vmnet.Failure)
	}
	if sent < len(frames) {
		return sent, vmnet.BufferExhausted // QEMU: try again later
	}
	return sent, nil
}
