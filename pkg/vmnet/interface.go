package vmnet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/google/uuid"
)

// An Interface is a started virtual network interface. Its methods may be
// called from several goroutines at once.
type Interface struct {
	dev     Device
	info    Info
	network string
	onClose func() error // closes the network that Start opened, if any

	readMu  sync.Mutex // one reader of dev at a time
	writeMu sync.Mutex // one writer of dev at a time
	oneBuf  [1][]byte  // guarded by readMu: Read without allocation
	oneSize [1]int     // guarded by readMu
	oneOut  [1][]byte  // guarded by writeMu

	setMu sync.Mutex // held while the device's handler is being changed

	mu      sync.Mutex    // guards the three below; never held while calling out
	waiting bool          // events go to wake
	handler bool          // events go to a handler of the caller's
	taken   chan struct{} // closed when the caller sets a handler; nil while it has one

	wake      chan struct{} // holds one token while an event has not been waited for
	closed    chan struct{}
	closeOnce sync.Once
	closeErr  error
}

// NewInterface returns dev, a device of the network named network, as an
// Interface. Closing the Interface closes dev.
func NewInterface(network string, dev Device) *Interface {
	return &Interface{
		dev:     dev,
		info:    dev.Info(),
		network: network,
		taken:   make(chan struct{}),
		wake:    make(chan struct{}, 1),
		closed:  make(chan struct{}),
	}
}

// Start opens a network with d and starts its only interface, as the OCaml
// library's init does. Closing the interface closes the network.
func Start(ctx context.Context, d Driver, nc NetworkConfig, c Config) (*Interface, error) {
	n, err := d.Open(ctx, nc)
	if err != nil {
		return nil, opError("open", nc.Name, err)
	}
	dev, err := n.Start(ctx, c)
	if err != nil {
		return nil, opError("start", nc.Name, errors.Join(err, n.Close()))
	}
	i := NewInterface(nc.Name, dev)
	i.onClose = n.Close
	return i, nil
}

// Info returns everything that the interface was given.
func (i *Interface) Info() Info { return i.info }

// MAC returns the address that the guest is expected to use. The caller must
// not change it.
func (i *Interface) MAC() net.HardwareAddr { return i.info.MAC }

// MTU returns the largest IP packet, in bytes.
func (i *Interface) MTU() int { return i.info.MTU }

// UUID returns the interface's identity. Starting with the same UUID again
// gives the same MAC.
func (i *Interface) UUID() uuid.UUID { return i.info.UUID }

// MaxPacketSize returns the largest frame in bytes that Write takes and the
// smallest buffer that Read takes.
func (i *Interface) MaxPacketSize() int { return i.info.MaxPacketSize }

// String describes the interface for people and for tests.
func (i *Interface) String() string {
	return fmt.Sprintf("vmnet(network=%s uuid=%s mac=%s mtu=%d max=%d)",
		i.network, i.info.UUID, i.info.MAC, i.info.MTU, i.info.MaxPacketSize)
}

// Read moves one waiting frame into buf, without blocking, and returns its
// length. It returns ErrNoPackets when none is waiting, and InvalidArgument
// when buf is shorter than MaxPacketSize; then no frame is lost.
func (i *Interface) Read(buf []byte) (int, error) {
	i.readMu.Lock()
	defer i.readMu.Unlock()
	i.oneBuf[0] = buf
	_, err := i.readLocked(i.oneBuf[:], i.oneSize[:])
	i.oneBuf[0] = nil
	if err != nil {
		return 0, err
	}
	return i.oneSize[0], nil
}

// ReadBatch moves waiting frames into bufs, without blocking: frame k is
// bufs[k][:sizes[k]]. It returns how many it moved, at least 1, or ErrNoPackets.
// Every buffer has at least MaxPacketSize bytes.
func (i *Interface) ReadBatch(bufs [][]byte, sizes []int) (int, error) {
	i.readMu.Lock()
	defer i.readMu.Unlock()
	return i.readLocked(bufs, sizes)
}

// readLocked is ReadBatch; the caller holds readMu. Errors that come once per
// batch at most are wrapped; ErrNoPackets ends every drain and is returned bare,
// so that it costs nothing.
func (i *Interface) readLocked(bufs [][]byte, sizes []int) (int, error) {
	if len(bufs) == 0 || len(sizes) < len(bufs) {
		return 0, opError("read", i.network, fmt.Errorf("%d buffers, %d sizes: %w", len(bufs), len(sizes), InvalidArgument))
	}
	for k := range bufs {
		if len(bufs[k]) < i.info.MaxPacketSize {
			return 0, opError("read", i.network, fmt.Errorf("buffer of %d bytes, want %d: %w", len(bufs[k]), i.info.MaxPacketSize, InvalidArgument))
		}
	}
	n, err := i.dev.ReadBatch(bufs, sizes)
	if err == ErrNoPackets { //nolint:errorlint // the hot path; drivers return it bare
		return 0, err
	}
	return n, opError("read", i.network, err)
}

// ReadContext moves one frame into buf and waits for it if none is there, until
// ctx is done or the interface is closed. It cannot be mixed with a handler set
// by SetEventHandler.
func (i *Interface) ReadContext(ctx context.Context, buf []byte) (int, error) {
	for {
		n, err := i.Read(buf)
		if err == nil {
			// Another reader may wait for the frames that came with the same
			// event: pass the token on.
			i.signal()
			return n, nil
		}
		if !errors.Is(err, ErrNoPackets) {
			return 0, err
		}
		if err := i.WaitForEvent(ctx); err != nil {
			return 0, err
		}
	}
}

// Write sends one frame. It returns PacketTooBig for one longer than
// MaxPacketSize, InvalidArgument for one shorter than HeaderLen, and
// BufferExhausted when the interface has no room now. It does not keep frame.
func (i *Interface) Write(frame []byte) error {
	i.writeMu.Lock()
	defer i.writeMu.Unlock()
	i.oneOut[0] = frame
	_, err := i.writeLocked(i.oneOut[:])
	i.oneOut[0] = nil
	return err
}

// WriteBatch sends frames in order and returns how many were taken. When n <
// len(frames), err says why frame n was not, as for Write; a nil error then
// means that the batch was longer than the driver takes at once.
func (i *Interface) WriteBatch(frames [][]byte) (int, error) {
	i.writeMu.Lock()
	defer i.writeMu.Unlock()
	return i.writeLocked(frames)
}

func (i *Interface) writeLocked(frames [][]byte) (int, error) {
	n, err := i.dev.WriteBatch(frames)
	return n, opError("write", i.network, err)
}

// SetEventHandler has fn called when frames may be waiting; see Device for what
// fn may do. nil ends the calls and waits for a running one. Without a handler
// the events go to WaitForEvent.
func (i *Interface) SetEventHandler(fn func()) error {
	i.setMu.Lock()
	defer i.setMu.Unlock()
	if fn != nil {
		i.direct(true)
	}
	err := i.dev.SetEventHandler(fn)
	if fn == nil || err != nil {
		// Only now: a handler that still ran must not start a wait.
		i.direct(false)
	}
	return opError("set event handler", i.network, err)
}

// direct notes whether events go to a handler of the caller's from now on. Waits
// under way end when one is set.
func (i *Interface) direct(handler bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.waiting = false
	switch i.handler = handler; {
	case handler && i.taken != nil:
		close(i.taken)
		i.taken = nil
	case !handler && i.taken == nil:
		i.taken = make(chan struct{})
	}
}

// WaitForEvent waits until frames may be waiting, ctx is done, or the interface
// is closed. An event that came since the last wait is not lost: the wait
// returns at once. It returns ErrHandlerSet while SetEventHandler has a handler,
// also when the handler is set during the wait.
func (i *Interface) WaitForEvent(ctx context.Context) error {
	return opError("wait", i.network, i.wait(ctx))
}

func (i *Interface) wait(ctx context.Context) error {
	taken, err := i.listen()
	if err != nil {
		return err
	}
	select { // closed wins over an event that is there too
	case <-i.closed:
		return ErrClosed
	default:
	}
	select {
	case <-i.wake:
		return nil
	case <-taken:
		return ErrHandlerSet
	case <-i.closed:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// listen directs events to the wake channel, unless they go there already, and
// returns the channel that is closed when they do no longer.
func (i *Interface) listen() (taken <-chan struct{}, err error) {
	if taken, ok, err := i.listening(); ok || err != nil {
		return taken, err
	}
	i.setMu.Lock()
	defer i.setMu.Unlock()
	// Another may have come first, with a wait or with a handler.
	if taken, ok, err := i.listening(); ok || err != nil {
		return taken, err
	}
	if err := i.dev.SetEventHandler(i.signal); err != nil {
		return nil, err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.waiting = true
	return i.taken, nil
}

// listening reports whether events go to the wake channel.
func (i *Interface) listening() (taken <-chan struct{}, ok bool, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.handler {
		return nil, false, ErrHandlerSet
	}
	return i.taken, i.waiting, nil
}

// signal leaves one token in wake.
func (i *Interface) signal() {
	select {
	case i.wake <- struct{}{}:
	default:
	}
}

// Forwarder returns the interface's ability to forward ports, or an error that
// wraps errors.ErrUnsupported.
func (i *Interface) Forwarder() (Forwarder, error) {
	if f, ok := i.dev.(Forwarder); ok {
		return f, nil
	}
	return nil, opError("forward", i.network, fmt.Errorf("this driver does not forward ports: %w", errors.ErrUnsupported))
}

// FileHolder returns the interface's ability to have descriptors that can outlive
// the process, or nil.
func (i *Interface) FileHolder() FileHolder {
	f, _ := i.dev.(FileHolder)
	return f
}

// Queued returns how many bytes of frames wait to be read, as far as the driver
// tells (Queuer), else 0.
func (i *Interface) Queued() int {
	if q, ok := i.dev.(Queuer); ok {
		return q.Queued()
	}
	return 0
}

// Close stops the interface and waits until it is stopped. Reads, writes and
// waits under way return ErrClosed, and so do all later ones. It is idempotent.
func (i *Interface) Close() error { return i.end(i.dev.Close) }

// Leave is Close that leaves in place what works without this process, if the driver
// has such: see Leaver.
func (i *Interface) Leave() error {
	if l, ok := i.dev.(Leaver); ok {
		return i.end(l.Leave)
	}
	return i.Close()
}

func (i *Interface) end(how func() error) error {
	i.closeOnce.Do(func() {
		close(i.closed)
		err := how()
		if i.onClose != nil {
			err = errors.Join(err, i.onClose())
		}
		i.closeErr = opError("close", i.network, err)
	})
	return i.closeErr
}
