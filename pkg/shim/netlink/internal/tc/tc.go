// Package tc computes what upstream computes for classes and disciplines of tc(8) with
// the clock of the kernel that it runs on. Other systems have no such clock: here it is
// the one that every kernel of Linux with high-resolution timers shows in
// /proc/net/psched ("000003e8 00000040 000f4240 3b9aca00"), so that a program which
// only prepares values finds the same everywhere. It is pure.
package tc

import (
	"encoding/binary"
	"math"

	"github.com/vishvananda/netlink"
)

// The clock.
const (
	TickInUsec  = 1000.0 / 64 // ticks in a microsecond
	ClockFactor = 1.0         // microseconds of the clock in a microsecond
	Hz          = 1e9         // timer interrupts a second
)

const (
	second     = 1e6 // microseconds
	cell       = 53  // bytes of a cell of ATM, and of what it carries
	payload    = 48
	linkATM    = 2   // TC_LINKLAYER_ATM (linux/pkt_sched.h)
	linkMask   = 0xf // TC_LINKLAYER_MASK
	defaultMTU = 1600
)

// whole is x as a number of 32 bits, cut at both ends.
func whole(x float64) uint32 { return uint32(min(max(x, 0), math.MaxUint32)) }

func ticks(usec uint32) uint32 { return whole(float64(usec) * TickInUsec) }

// Xmittime is how many ticks size bytes take at a rate in bytes a second.
func Xmittime(rate uint64, size uint32) uint32 {
	if rate == 0 {
		return 0
	}
	return ticks(whole(second * (float64(size) / float64(rate))))
}

// Xmitsize is how many bytes pass in a number of ticks at a rate in bytes a second.
func Xmitsize(rate uint64, n uint32) uint32 {
	usec := whole(float64(n) / TickInUsec)
	return whole(float64(rate) * float64(usec) / second)
}

// AlignToAtm is how many bytes of cells carry size bytes.
func AlignToAtm(size uint) uint { return (size + payload - 1) / payload * cell }

// AdjustSize is how many bytes a packet of size bytes takes on a link, at least mpu.
func AdjustSize(size, mpu uint, linklayer int) uint {
	if size = max(size, mpu); linklayer == linkATM {
		return AlignToAtm(size)
	}
	return size
}

// A Rate is what RateTable completes of nl.TcRateSpec.
type Rate struct {
	CellLog, Linklayer uint8
	CellAlign          int16
	Mpu                uint16
	Rate               uint32
}

// RateTable fills in a table of 256 numbers of ticks for sizes that grow by
// 1<<cellLog bytes; a cellLog below 0 is chosen for the MTU. It returns cellLog.
func RateTable(r *Rate, table []uint32, cellLog int, mtu uint32, linklayer int) int {
	if mtu == 0 {
		mtu = 2047
	}
	if cellLog < 0 {
		for cellLog = 0; mtu>>cellLog > 255; {
			cellLog++
		}
	}
	for i := range 256 {
		table[i] = Xmittime(uint64(r.Rate), uint32(AdjustSize(uint(i+1)<<cellLog, uint(r.Mpu), linklayer)))
	}
	r.CellAlign, r.CellLog, r.Linklayer = -1, uint8(cellLog), uint8(linklayer&linkMask)
	return cellLog
}

// SerializeRtab is a table in bytes, in the machine's order.
func SerializeRtab(table [256]uint32) []byte {
	b := make([]byte, 0, 4*len(table))
	for _, v := range table {
		b = binary.NativeEndian.AppendUint32(b, v)
	}
	return b
}

// DeserializeRtab is a table of bytes; of fewer than a table's there are zeros.
func DeserializeRtab(b []byte) (table [256]uint32) {
	if len(b) < 4*len(table) {
		return table
	}
	for i := range table {
		table[i] = binary.NativeEndian.Uint32(b[4*i:])
	}
	return table
}

// NewHtbClass returns a class; rates are in bits a second.
func NewHtbClass(attrs netlink.ClassAttrs, c netlink.HtbClassAttrs) *netlink.HtbClass {
	rate, ceil := c.Rate/8, c.Ceil/8
	if ceil == 0 {
		ceil = rate
	}
	depth := func(rate uint64, asked uint32) uint32 {
		if asked == 0 {
			asked = whole(float64(rate)/Hz + defaultMTU)
		}
		return Xmittime(rate, asked)
	}
	return &netlink.HtbClass{
		ClassAttrs: attrs, Rate: rate, Ceil: ceil, Buffer: depth(rate, c.Buffer), Cbuffer: depth(ceil, c.Cbuffer),
		Prio: c.Prio, Quantum: c.Quantum,
	}
}

// NewNetem returns a discipline; times are in microseconds, shares in percent.
func NewNetem(attrs netlink.QdiscAttrs, n netlink.NetemQdiscAttrs) *netlink.Netem {
	q := &netlink.Netem{
		QdiscAttrs: attrs, Limit: 1000, Latency: ticks(n.Latency), Jitter: n.Jitter, Gap: n.Gap, Rate64: n.Rate64,
		Loss: share(n.Loss), Duplicate: share(n.Duplicate),
		ReorderProb: share(n.ReorderProb), ReorderCorr: share(n.ReorderCorr),
		CorruptProb: share(n.CorruptProb), CorruptCorr: share(n.CorruptCorr),
	}
	if n.Limit != 0 {
		q.Limit = n.Limit
	}
	if n.Latency > 0 && n.Jitter > 0 {
		q.DelayCorr = share(n.DelayCorr)
	}
	if q.Latency > 0 { // what has no delay has none that varies
		q.Jitter = ticks(n.Jitter)
	}
	if q.Loss > 0 {
		q.LossCorr = share(n.LossCorr)
	}
	if q.Duplicate > 0 {
		q.DuplicateCorr = share(n.DuplicateCorr)
	}
	if q.ReorderProb > 0 && q.Gap == 0 {
		q.Gap = 1
	}
	return q
}

func share(percent float32) uint32 { return netlink.Percentage2u32(percent) }

// SetBits sets bits of a number.
func SetBits(n uint64, bits ...int) uint64 {
	for _, b := range bits {
		n |= 1 << uint64(b)
	}
	return n
}

// IsBitSet reports whether a number has a bit.
func IsBitSet(n uint64, bit int) bool { return n&(1<<uint64(bit)) != 0 }
