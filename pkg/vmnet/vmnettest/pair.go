package vmnettest

import (
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// DefaultQueue is how many unread frames a device of this package keeps.
const DefaultQueue = 512

// PairConfig says what NewPair returns. The zero value is what Pair uses.
type PairConfig struct {
	// MTU in bytes. Zero: vmnet.DefaultMTU.
	MTU int
	// Queue is how many unread frames each end keeps. Zero: DefaultQueue.
	Queue int
	// A and B are the identities of the two ends. Zero: new ones.
	A, B vmnet.Config
}

// Pair returns two devices joined back to back, as by a cable: what is written
// to one is read from the other. While the other's queue is full a write returns
// vmnet.BufferExhausted; after the other was closed, writes succeed and are lost.
// The caller closes both.
func Pair() (a, b *Device) { return NewPair(PairConfig{}) }

// NewPair is Pair with a choice.
func NewPair(cfg PairConfig) (a, b *Device) {
	if cfg.MTU == 0 {
		cfg.MTU = vmnet.DefaultMTU
	}
	if cfg.Queue == 0 {
		cfg.Queue = DefaultQueue
	}
	a, b = newDevice(cfg.A, cfg.MTU, cfg.Queue), newDevice(cfg.B, cfg.MTU, cfg.Queue)
	a.send, b.send = b.receive, a.receive
	return a, b
}
