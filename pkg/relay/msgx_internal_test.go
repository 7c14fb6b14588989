package relay

import (
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The layout is that of clang on macOS for 64-bit machines.
func TestMsghdrX(t *testing.T) {
	var h msghdrX
	for name, c := range map[string]struct{ got, want uintptr }{
		"size":           {unsafe.Sizeof(h), 56},
		"msg_namelen":    {unsafe.Offsetof(h.nameLen), 8},
		"msg_iov":        {unsafe.Offsetof(h.iov), 16},
		"msg_iovlen":     {unsafe.Offsetof(h.iovLen), 24},
		"msg_control":    {unsafe.Offsetof(h.control), 32},
		"msg_controllen": {unsafe.Offsetof(h.controlLen), 40},
		"msg_flags":      {unsafe.Offsetof(h.flags), 44},
		"msg_datalen":    {unsafe.Offsetof(h.dataLen), 48},
	} {
		if c.got != c.want {
			t.Errorf("%s: %d, want %d", name, c.got, c.want)
		}
	}
}

func TestBatchX(t *testing.T) {
	b := newBatchX(2)
	bufs := NewBuffers(3, 100)
	b.hdrs[1].flags, b.hdrs[1].dataLen = 7, 9 // of an earlier call
	if n := len(b.point(bufs)); n != 2 {
		t.Fatalf("%d messages, want 2", n)
	}
	for i, h := range b.hdrs {
		if h.iov != &b.iovs[i] || h.iovLen != 1 || h.flags != 0 || h.dataLen != 0 || h.name != nil || h.control != nil {
			t.Errorf("message %d: %+v", i, h)
		}
		if v := b.iovs[i]; v.Base != &bufs[i][0] || v.Len != 100 {
			t.Errorf("vector %d: %+v", i, v)
		}
	}
	got := make([]received, 3)
	b.hdrs[0].dataLen, b.hdrs[1].dataLen, b.hdrs[1].flags = 60, 100, unix.MSG_TRUNC
	b.took(2, bufs, got)
	if got[0].size != 60 || got[1].size != 101 {
		t.Errorf("%d and %d bytes, want 60 and 101", got[0].size, got[1].size)
	}
	b.hdrs[0].dataLen = 1 << 40 // no such kernel
	if b.took(1, bufs, got); got[0].size != 101 {
		t.Errorf("%d bytes, want 101", got[0].size)
	}
}
