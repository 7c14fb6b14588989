package tc_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"

	"github.com/vmnet-cni/vmnet/internal/leak"
	"github.com/vmnet-cni/vmnet/pkg/shim/netlink/internal/tc"
)

func TestMain(m *testing.M) { leak.Main(m, nil) }

// beside compares a value of ours with upstream's.
func beside[T any](t *testing.T, what string, ours, theirs T) {
	t.Helper()
	if d := cmp.Diff(theirs, ours); d != "" {
		t.Errorf("%s: upstream -, ours +\n%s", what, d)
	}
}

// TestBesideUpstream compares every function with upstream's, whose clock is this
// kernel's.
func TestBesideUpstream(t *testing.T) {
	if netlink.Hz() != tc.Hz || netlink.TickInUsec() != tc.TickInUsec {
		t.Logf("this kernel has another clock (/proc/net/psched): %v ticks, %v interrupts", netlink.TickInUsec(), netlink.Hz())
		return
	}
	beside(t, "clock factor", tc.ClockFactor, netlink.ClockFactor())
	for _, size := range []uint{0, 1, 47, 48, 49, 1500} {
		beside(t, "cells", tc.AlignToAtm(size), netlink.AlignToAtm(size))
		for _, layer := range []int{nl.LINKLAYER_ETHERNET, nl.LINKLAYER_ATM} {
			beside(t, "size", tc.AdjustSize(size, 64, layer), netlink.AdjustSize(size, 64, layer))
		}
	}
	for _, rate := range []uint64{1000, 125_000, 1_250_000_000} {
		beside(t, "time", tc.Xmittime(rate, 1600), netlink.Xmittime(rate, 1600))
		beside(t, "bytes", tc.Xmitsize(rate, 4711), netlink.Xmitsize(rate, 4711))
		for _, c := range []netlink.HtbClassAttrs{{Rate: 8 * rate}, {Rate: 8 * rate, Ceil: 16 * rate, Buffer: 5000, Cbuffer: 6000, Quantum: 7, Prio: 3}} {
			attrs := netlink.ClassAttrs{LinkIndex: 4, Handle: 5}
			beside(t, "class", tc.NewHtbClass(attrs, c), netlink.NewHtbClass(attrs, c))
		}
		theirs, spec := [256]uint32{}, nl.TcRateSpec{Rate: uint32(rate), Mpu: 64}
		ours, r := [256]uint32{}, tc.Rate{Rate: uint32(rate), Mpu: 64}
		beside(t, "cell", tc.RateTable(&r, ours[:], -1, 0, 1), netlink.CalcRtable(&spec, theirs[:], -1, 0, 1))
		beside(t, "table", ours, theirs)
		beside(t, "rate", r, tc.Rate{Rate: spec.Rate, Mpu: spec.Mpu, CellLog: spec.CellLog, CellAlign: spec.CellAlign, Linklayer: spec.Linklayer})
		beside(t, "bytes of a table", tc.SerializeRtab(ours), netlink.SerializeRtab(theirs))
		beside(t, "table of bytes", tc.DeserializeRtab(tc.SerializeRtab(ours)), ours)
	}
	beside(t, "table of few bytes", tc.DeserializeRtab(make([]byte, 9)), netlink.DeserializeRtab(make([]byte, 9)))
	beside(t, "bits", tc.SetBits(1, 3, 63), netlink.SetBits(1, 3, 63))
	beside(t, "bit", tc.IsBitSet(8, 3), netlink.IsBitSet(8, 3))
	beside(t, "no bit", tc.IsBitSet(8, 2), netlink.IsBitSet(8, 2))
	for _, n := range []netlink.NetemQdiscAttrs{
		{}, {Jitter: 5}, {Latency: 1000, Jitter: 50, DelayCorr: 25, Limit: 7, Rate64: 9},
		{Loss: 1.5, LossCorr: 2, Duplicate: 100, DuplicateCorr: 3, ReorderProb: 4, ReorderCorr: 5, CorruptProb: 6, CorruptCorr: 7},
		{DelayCorr: 25, LossCorr: 2, DuplicateCorr: 3, Gap: 8, ReorderProb: 1},
	} {
		attrs := netlink.QdiscAttrs{LinkIndex: 4}
		beside(t, "netem", tc.NewNetem(attrs, n), netlink.NewNetem(attrs, n))
	}
}
