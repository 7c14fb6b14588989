//go:build (darwin || linux) && (amd64 || arm64)

package framework

import (
	"testing"
	"unsafe"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// TestLayout compares the structures that C reads with the C ones.
func TestLayout(t *testing.T) {
	var (
		d    pktDesc
		v    iovec
		b    blockLiteral
		desc blockDescriptor
		r    batch
	)
	for name, c := range map[string]struct{ got, want uintptr }{
		"sizeof vmpktdesc":              {unsafe.Sizeof(d), 24},
		"vmpktdesc.vm_pkt_size":         {unsafe.Offsetof(d.size), 0},
		"vmpktdesc.vm_pkt_iov":          {unsafe.Offsetof(d.iov), 8},
		"vmpktdesc.vm_pkt_iovcnt":       {unsafe.Offsetof(d.iovcnt), 16},
		"vmpktdesc.vm_flags":            {unsafe.Offsetof(d.flags), 20},
		"sizeof iovec":                  {unsafe.Sizeof(v), 16},
		"iovec.iov_len":                 {unsafe.Offsetof(v.len), 8},
		"sizeof Block_layout + 1 word":  {unsafe.Sizeof(b), 40},
		"Block_layout.isa":              {unsafe.Offsetof(b.isa), 0},
		"Block_layout.flags":            {unsafe.Offsetof(b.flags), 8},
		"Block_layout.invoke":           {unsafe.Offsetof(b.invoke), 16},
		"Block_layout.descriptor":       {unsafe.Offsetof(b.desc), 24},
		"the captured word":             {unsafe.Offsetof(b.handle), 32},
		"sizeof Block_descriptor":       {unsafe.Sizeof(desc), 32},
		"Block_descriptor.size":         {unsafe.Offsetof(desc.size), 8},
		"Block_descriptor.copy":         {unsafe.Offsetof(desc.copy), 16},
		"Block_descriptor.dispose":      {unsafe.Offsetof(desc.dispose), 24},
		"sizeof the count of a batch":   {unsafe.Sizeof(r.count), 4},
		"sizeof the arguments of batch": {unsafe.Sizeof(r.args), 24},
	} {
		if c.got != c.want {
			t.Errorf("%s = %d, want %d", name, c.got, c.want)
		}
	}
}

// TestConstants compares numbers with those of the C headers.
func TestConstants(t *testing.T) {
	for name, c := range map[string]struct{ got, want uint64 }{
		"VMNET_HOST_MODE":                   {modeNumber[vmnet.Host], 1000},
		"VMNET_SHARED_MODE":                 {modeNumber[vmnet.Shared], 1001},
		"VMNET_BRIDGED_MODE":                {modeNumber[vmnet.Bridged], 1002},
		"VMNET_INTERFACE_PACKETS_AVAILABLE": {packetsAvailable, 1},
		"VMNET_SUCCESS":                     {uint64(success), 1000},
		"BLOCK_HAS_COPY_DISPOSE":            {blockHasCopyDispose, 1 << 25},
		"AF_INET":                           {afINET, 2},
		"AF_INET6 of Darwin":                {afINET6, 30},
	} {
		if c.got != c.want {
			t.Errorf("%s = %d, want %d", name, c.got, c.want)
		}
	}
}

func TestBatchLen(t *testing.T) {
	for _, c := range []struct {
		limit uint64
		size  int
		want  int
	}{
		{0, 1514, 128}, {256, 1514, 128}, {200, 1514, 128}, {64, 1514, 64}, {1, 1514, 1},
		{256, 9014, 29}, {256, 65550, 16}, {256, 65562, 16}, {8, 65550, 8}, {0, 0, 128},
	} {
		if got := batchLen(c.limit, c.size); got != c.want {
			t.Errorf("limit %d, frames of %d bytes: %d, want %d", c.limit, c.size, got, c.want)
		}
	}
}

// TestBatchLoad sees that nothing of an earlier call is left.
func TestBatchLoad(t *testing.T) {
	b := newBatch(3)
	bufs := [][]byte{make([]byte, 1514), make([]byte, 100), nil}
	for range 2 {
		b.load(bufs)
		if b.count != 3 {
			t.Errorf("count %d", b.count)
		}
		for i, buf := range bufs {
			d := &b.descs[i]
			if d.size != uintptr(len(buf)) || d.iov != &b.iovs[i] || d.iovcnt != 1 || d.flags != 0 ||
				b.iovs[i].base != unsafe.SliceData(buf) || b.iovs[i].len != uintptr(len(buf)) {
				t.Errorf("%d: %+v %+v", i, *d, b.iovs[i])
			}
			d.size, d.flags, b.iovs[i].len = 1, 2, 3 // as C leaves it
		}
		b.count = 1
	}
	b.drop()
	for i := range b.iovs {
		if b.iovs[i].base != nil {
			t.Errorf("%d: still points at the caller's buffer", i)
		}
	}
}
