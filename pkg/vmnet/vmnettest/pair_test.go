package vmnettest_test

import (
	"testing"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
	"github.com/vmnet-cni/vmnet/pkg/vmnet/vmnettest"
)

// BenchmarkPair moves batches of full frames from one end to the other.
func BenchmarkPair(b *testing.B) {
	x, y := vmnettest.Pair()
	defer x.Close()
	defer y.Close()
	out, in := make([][]byte, vmnettest.Batch), make([][]byte, vmnettest.Batch)
	sizes := make([]int, vmnettest.Batch)
	for i := range out {
		out[i], in[i] = make([]byte, 1514), make([]byte, 1514)
	}
	b.SetBytes(1514)
	b.ReportAllocs()
	for n := 0; n < b.N; {
		w, err := x.WriteBatch(out)
		if err != nil {
			b.Fatal(err)
		}
		r, err := y.ReadBatch(in, sizes)
		if r != w || err != nil {
			b.Fatalf("wrote %d, read %d: %v", w, r, err)
		}
		n += r
	}
}

// BenchmarkInterface moves single frames through two Interfaces.
func BenchmarkInterface(b *testing.B) {
	x, y := vmnettest.Pair()
	from, to := vmnet.NewInterface("bench", x), vmnet.NewInterface("bench", y)
	defer from.Close()
	defer to.Close()
	out, in := make([]byte, 1514), make([]byte, 1514)
	b.SetBytes(1514)
	b.ReportAllocs()
	for b.Loop() {
		if err := from.Write(out); err != nil {
			b.Fatal(err)
		}
		if _, err := to.Read(in); err != nil {
			b.Fatal(err)
		}
	}
}
