package vmnettest

import (
	"errors"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

func switchCases() []testCase {
	return []testCase{
		{"peers", true, "interfaces of one network reach each other, by unicast and by broadcast, and nobody hears himself", switchPeers},
		{"isolated", true, "interfaces of an isolated network do not reach each other (or Open wraps errors.ErrUnsupported)", switchIsolated},
		{"networks apart", true, "frames do not cross from one network to another", switchApart},
		{"nobody reads", true, "an interface that nobody reads keeps a bounded number of frames; writers get BufferExhausted or the frames are dropped, and it goes on when somebody reads", switchFull},
		{"slow reader", true, "an interface that nobody reads delays no other", switchSlow},
	}
}

func switchPeers(k *kit) {
	a, b := k.two()
	f := k.to(b, a, 1)
	k.send(a, f)
	k.expect(b, f)
	back := k.to(a, b, 2)
	k.send(b, back)
	k.expect(a, back)
	all := frame(broadcast, a.MAC(), 3, minTest)
	k.send(a, all)
	k.expect(b, all)
	k.nothing(a)
}

func switchIsolated(k *kit) {
	if k.h.Direct {
		k.Skip("a cable isolates nobody")
	}
	cfg := k.config()
	cfg.Isolated = true
	n, err := k.h.Driver.Open(k.ctx, cfg)
	if errors.Is(err, errors.ErrUnsupported) {
		return
	}
	if err != nil {
		k.Fatalf("open: %v", err)
	}
	k.Cleanup(func() { n.Close() })
	a, b := k.start(n, vmnet.Config{}), k.start(n, vmnet.Config{})
	for seq := range uint32(20) {
		k.send(a, k.to(b, a, seq), frame(broadcast, a.MAC(), 100+seq, minTest))
		k.send(b, k.to(a, b, seq))
	}
	k.nothing(b)
	k.nothing(a)
}

func switchApart(k *kit) {
	if k.h.Network.Mode == vmnet.Bridged {
		k.Skip("networks of one uplink are on the same LAN")
	}
	a, b := k.two()
	other := k.one()
	k.send(a, frame(broadcast, a.MAC(), 1, minTest), k.to(other, a, 2), k.to(b, a, 3))
	k.next(b)
	k.nothing(other)
}

// flood writes large frames from a to b, which nobody reads, for a while or
// until the queue was seen to be full.
func (k *kit) flood(a, b *vmnet.Interface) (taken int) {
	k.Helper()
	batch := make([][]byte, window)
	for x := range batch {
		batch[x] = frame(b.MAC(), a.MAC(), 1, min(1514, a.MaxPacketSize()))
	}
	refused := 0
	for end := time.Now().Add(2 * time.Second); taken < 4*k.h.MaxQueue && refused < 10 && time.Now().Before(end); {
		n, err := a.WriteBatch(batch)
		taken += n
		if errors.Is(err, vmnet.BufferExhausted) {
			refused++
		} else if err != nil {
			k.Fatalf("write: %v", err)
		}
	}
	return taken
}

func switchFull(k *kit) {
	a, b := k.two()
	taken := k.flood(a, b)
	waiting := drain(b, make([]byte, b.MaxPacketSize()))
	k.Logf("%d frames taken, %d were waiting", taken, waiting)
	if waiting > k.h.MaxQueue {
		k.Errorf("%d frames were waiting unread, at most %d are allowed", waiting, k.h.MaxQueue)
	}
	k.poll("frames arriving again", func() bool {
		k.send(a, k.to(b, a, 2))
		f := k.tryRead(b)
		seq, ok := seqOf(f)
		return ok && seq == 2
	})
}

func switchSlow(k *kit) {
	if k.h.Direct {
		k.Skip("a cable has no third interface")
	}
	n := k.open(nil)
	a, b, c := k.start(n, vmnet.Config{}), k.start(n, vmnet.Config{}), k.start(n, vmnet.Config{})
	k.join(a, b)
	k.join(a, c)
	k.flood(a, b)
	for seq := range uint32(200) {
		f := k.to(c, a, seq)
		k.send(a, f, k.to(b, a, seq))
		k.expect(c, f)
		back := k.to(a, c, seq)
		k.send(c, back)
		k.expect(a, back)
	}
}
