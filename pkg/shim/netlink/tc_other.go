//go:build !linux

package netlink

import (
	"time"

	"github.com/vmnet-cni/vmnet/pkg/shim/netlink/internal/tc"
)

// TickInUsec is how many ticks tc counts in a microsecond: those of a Linux with
// high-resolution timers.
func TickInUsec() float64 { return tc.TickInUsec }

// ClockFactor is the clock of tc in a microsecond: that of a Linux with high-resolution
// timers.
func ClockFactor() float64 { return tc.ClockFactor }

// Hz is how often a second the timer of tc fires: that of a Linux with high-resolution
// timers.
func Hz() float64 { return tc.Hz }

// Xmittime is how many ticks size bytes take at a rate in bytes a second.
func Xmittime(rate uint64, size uint32) uint32 { return tc.Xmittime(rate, size) }

// Xmitsize is how many bytes pass in a number of ticks at a rate in bytes a second.
func Xmitsize(rate uint64, ticks uint32) uint32 { return tc.Xmitsize(rate, ticks) }

// AlignToAtm is how many bytes of ATM's cells carry size bytes.
func AlignToAtm(size uint) uint { return tc.AlignToAtm(size) }

// AdjustSize is how many bytes a packet of sz bytes takes on a link, at least mpu.
func AdjustSize(sz uint, mpu uint, linklayer int) uint { return tc.AdjustSize(sz, mpu, linklayer) }

// CalcRtable fills in a table of 256 times, and completes the rate that it is of.
func CalcRtable(rate *TcRateSpec, rtab []uint32, cellLog int, mtu uint32, linklayer int) int {
	r := tc.Rate{Mpu: rate.Mpu, Rate: rate.Rate}
	cellLog = tc.RateTable(&r, rtab, cellLog, mtu, linklayer)
	rate.CellLog, rate.CellAlign, rate.Linklayer = r.CellLog, r.CellAlign, r.Linklayer
	return cellLog
}

// SerializeRtab is a table of times in bytes, in the machine's order.
func SerializeRtab(rtab [256]uint32) []byte { return tc.SerializeRtab(rtab) }

// DeserializeRtab is the table of times that SerializeRtab made bytes of.
func DeserializeRtab(b []byte) [256]uint32 { return tc.DeserializeRtab(b) }

// NewHtbClass prepares a class of tc; rates are in bits a second.
func NewHtbClass(attrs ClassAttrs, cattrs HtbClassAttrs) *HtbClass {
	return tc.NewHtbClass(attrs, cattrs)
}

// NewNetem prepares a discipline of tc that emulates a network.
func NewNetem(attrs QdiscAttrs, nattrs NetemQdiscAttrs) *Netem { return tc.NewNetem(attrs, nattrs) }

// SetBits sets bits of a number.
func SetBits(input uint64, pos ...int) uint64 { return tc.SetBits(input, pos...) }

// IsBitSet reports whether a number has a bit.
func IsBitSet(input uint64, pos int) bool { return tc.IsBitSet(input, pos) }

// GetSocketTimeout returns 0, for none: no function waits for an answer of the kernel
// on a socket whose time could be set.
func GetSocketTimeout() time.Duration { return 0 }
