package server

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/vmnet-cni/vmnet/pkg/relay"
	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// direct reports whether the guest has the interface's own tap, so that the kernel
// moves its frames and the relay has nothing to do.
func (a *attachment) direct() bool { return a.rec.Request.Frames == shim.FramesTap }

// tapHeader is the length of the virtio-net header that a new tap has, in bytes
// (TUNSETVNETHDRSZ in linux/if_tun.h). The runtime may set another.
const tapHeader = 10

// offload is what the guest is told of its frames.
func (a *attachment) offload() bool { return a.rec.Granted.Offload }

// vnetHeader is how many bytes of virtio-net header the guest has before each frame
// of its socket, or of its tap when that is given out.
func (a *attachment) vnetHeader() int {
	switch {
	case a.direct() && a.offload():
		return tapHeader
	case a.rec.Request.VnetHeader:
		return relay.HeaderLen
	}
	return 0
}

// maxFrame is the largest frame in bytes, without a header before it.
func (a *attachment) maxFrame() int { return a.ifc.MaxPacketSize() - a.ifc.Info().VnetHeader }

// headers says whether the device may have virtio-net headers: a tap has no large
// frames otherwise, and others have them where the guest does, whose header then
// crosses as it is.
func (a *attachment) headers() bool {
	return a.offload() && !a.direct() && (a.rec.Request.VnetHeader || a.rec.Granted.Driver == shim.DriverTap)
}

// setRules has the kernel do what the relay does for others: guard, limits, and
// that the guest's requests for an address come to the same servers.
func setRules(ctx context.Context, a *attachment) error {
	if !a.direct() && a.rec.Plugged == 0 {
		return nil
	}
	ruler, ok := a.dev.(vmnet.Ruler)
	if !ok {
		return unsupported("frames", a.rec.Request.Frames, fmt.Sprintf("driver %s has no rules in the kernel", a.rec.Granted.Driver))
	}
	b := a.rec.Request.Bandwidth
	r := vmnet.Rules{
		Guard:     guardOf(&a.rec),
		ToGuest:   vmnet.Rate{Bits: b.IngressRate, Burst: b.IngressBurst},
		FromGuest: vmnet.Rate{Bits: b.EgressRate, Burst: b.EgressBurst},
	}
	stages, err := makeStages(a, answersOf(a))
	if err != nil {
		return err
	}
	if len(stages) > 0 {
		r.Answer = answerWith(stages)
	}
	if err := ruler.SetRules(ctx, r); err != nil {
		return fmt.Errorf("attachment %s: %w", a.rec.Key, err)
	}
	return nil
}

// answerWith shows a frame to the stages until one has taken it.
func answerWith(stages []relay.Stage) func(frame []byte, reply func([]byte)) {
	return func(frame []byte, reply func([]byte)) {
		for _, s := range stages {
			if v, _ := s.FromGuest(frame, reply); v != relay.Pass {
				return
			}
		}
	}
}

// tapOf returns a descriptor of the attachment's tap, the caller's to close.
func tapOf(a *attachment) (*os.File, error) {
	holder, ok := a.dev.(vmnet.TapHolder)
	if !ok {
		return nil, fmt.Errorf("attachment %s: driver %s has no taps: %w", a.rec.Key, a.rec.Granted.Driver, errors.ErrUnsupported)
	}
	f, err := holder.Tap()
	if err != nil {
		return nil, fmt.Errorf("attachment %s: %w", a.rec.Key, err)
	}
	return f, nil
}

// sweep has the drivers take away what shims before this one left, each once. One
// with attachments that are still to come back is not asked yet: their guests' taps
// are among that. Restore calls it, and then retryBroken.
func (s *Server) sweep(ctx context.Context) {
	awaited := map[string]bool{}
	for _, a := range s.broken() {
		awaited[a.rec.Granted.Driver] = true
	}
	for name, d := range s.cfg.Drivers {
		sweeper, ok := d.(vmnet.Sweeper)
		if !ok || awaited[name] || s.swept[name] || ctx.Err() != nil {
			continue
		}
		s.swept[name] = true
		if err := sweeper.Sweep(ctx); err != nil {
			s.problem(fmt.Sprintf("driver %s: %v", name, err))
		}
	}
}
