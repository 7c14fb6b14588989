package vmnettest

import (
	"bytes"
	"errors"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

func frameCases() []testCase {
	return []testCase{
		{"none waiting", false, "Read and ReadBatch return ErrNoPackets, at once, when no frame is waiting", framesNone},
		{"content", true, "a frame arrives as it was sent, whatever its size up to MaxPacketSize", framesContent},
		{"short buffer", true, "Read returns InvalidArgument for a buffer below MaxPacketSize, and the frame is not lost", framesShortBuffer},
		{"too big, too short", true, "Write returns PacketTooBig above MaxPacketSize and InvalidArgument below HeaderLen, and sends nothing", framesBadSize},
		{"bad one in a batch", true, "WriteBatch sends the frames before the bad one, tells how many, and why the next was not sent", framesBadInBatch},
		{"long batch", true, "WriteBatch cuts what is longer than its limit, with a nil error, and loses nothing", framesLongBatch},
		{"read batch", true, "ReadBatch fills as many buffers as frames are waiting, in order, with their sizes", framesReadBatch},
		{"order", true, "frames arrive in the order in which they were sent", framesOrder},
		{"slices not kept", true, "WriteBatch does not keep the slices, and ReadBatch does not write to buffers of an earlier call", framesNotKept},
	}
}

func framesNone(k *kit) {
	i := k.one()
	buf := make([]byte, i.MaxPacketSize())
	k.poll("ErrNoPackets", func() bool { // the driver may send frames of its own
		_, err := i.Read(buf)
		return errors.Is(err, vmnet.ErrNoPackets)
	})
	k.poll("ErrNoPackets", func() bool {
		n, err := i.ReadBatch([][]byte{buf}, make([]int, 1))
		if err != nil && n != 0 {
			k.Fatalf("%d frames with %v", n, err)
		}
		return errors.Is(err, vmnet.ErrNoPackets)
	})
	if n, err := i.ReadBatch(nil, nil); n != 0 || !errors.Is(err, vmnet.InvalidArgument) {
		k.Errorf("ReadBatch without buffers: %d, %v", n, err)
	}
	if n, err := i.ReadBatch([][]byte{buf, buf}, make([]int, 1)); n != 0 || !errors.Is(err, vmnet.InvalidArgument) {
		k.Errorf("ReadBatch with too few sizes: %d, %v", n, err)
	}
}

func framesContent(k *kit) {
	a, b := k.two()
	most := min(a.MTU()+vmnet.HeaderLen, a.MaxPacketSize())
	for seq, size := range []int{minTest, minTest + 1, 127, 128, 511, 1279, most - 1, most} {
		f := frame(b.MAC(), a.MAC(), uint32(seq), size)
		if err := a.Write(f); err != nil {
			k.Fatalf("write %d bytes: %v", size, err)
		}
		k.expect(b, f)
	}
}

func framesShortBuffer(k *kit) {
	a, b := k.two()
	f := k.to(b, a, 1)
	k.send(a, f)
	for range 3 {
		if n, err := b.Read(make([]byte, b.MaxPacketSize()-1)); n != 0 || !errors.Is(err, vmnet.InvalidArgument) {
			k.Fatalf("read into a short buffer: %d, %v", n, err)
		}
	}
	good := make([]byte, b.MaxPacketSize())
	if n, err := b.ReadBatch([][]byte{good, good[:vmnet.HeaderLen]}, make([]int, 2)); n != 0 || !errors.Is(err, vmnet.InvalidArgument) {
		k.Fatalf("read into a batch with a short buffer: %d, %v", n, err)
	}
	k.expect(b, f)
}

func framesBadSize(k *kit) {
	a, b := k.two()
	for _, c := range []struct {
		size int
		want error
	}{
		{a.MaxPacketSize() + 1, vmnet.PacketTooBig},
		{1 << 17, vmnet.PacketTooBig},
		{vmnet.HeaderLen - 1, vmnet.InvalidArgument},
		{1, vmnet.InvalidArgument},
		{0, vmnet.InvalidArgument},
	} {
		err := a.Write(frame(b.MAC(), a.MAC(), 0, max(c.size, minTest))[:c.size])
		if !errors.Is(err, c.want) {
			k.Errorf("%d bytes: %v, want %v", c.size, err, c.want)
		}
		var oe *vmnet.OpError
		if !errors.As(err, &oe) || oe.Op != "write" || oe.Net == "" {
			k.Errorf("%d bytes: %#v, want an OpError that names operation and network", c.size, err)
		}
	}
	if err := a.Write(k.to(b, a, 6)[:vmnet.HeaderLen]); err != nil {
		k.Errorf("%d bytes, a header alone: %v", vmnet.HeaderLen, err)
	}
	f := k.to(b, a, 7)
	k.send(a, f)
	k.expect(b, f)
	k.nothing(b)
}

func framesBadInBatch(k *kit) {
	a, b := k.two()
	if n, err := a.WriteBatch(nil); n != 0 || err != nil {
		k.Errorf("empty batch: %d, %v", n, err)
	}
	good := func(seq uint32) []byte { return k.to(b, a, seq) }
	for x, bad := range []struct {
		frame []byte
		want  error
	}{
		{make([]byte, a.MaxPacketSize()+1), vmnet.PacketTooBig},
		{make([]byte, vmnet.HeaderLen-1), vmnet.InvalidArgument},
	} {
		base := uint32(10 * x)
		batch := [][]byte{good(base), good(base + 1), bad.frame, good(base + 3)}
		sent, err := 0, error(nil)
		for n := 1; n > 0 && err == nil; sent += n { // a driver may cut batches
			n, err = a.WriteBatch(batch[sent:])
		}
		if sent != 2 || !errors.Is(err, bad.want) {
			k.Fatalf("%d sent, %v, want 2, %v", sent, err, bad.want)
		}
		if n, err := a.WriteBatch(batch[2:]); n != 0 || !errors.Is(err, bad.want) {
			k.Errorf("bad frame first: %d, %v, want 0, %v", n, err, bad.want)
		}
		k.expect(b, batch[0])
		k.expect(b, batch[1])
		k.nothing(b)
	}
}

func framesLongBatch(k *kit) {
	a, b := k.two()
	total := 3*a.Info().WriteBatch + 1
	frames := make([][]byte, total)
	for seq := range frames {
		frames[seq] = k.to(b, a, uint32(seq))
	}
	sent, got := 0, 0
	k.poll("a long batch arriving", func() bool {
		// Never more than a window ahead of the reader but for the first call: how
		// many a driver takes of a batch that is too long is for it to say.
		if sent < total && sent-got < window {
			end := total
			if sent > 0 {
				end = min(total, sent+window)
			}
			n, err := a.WriteBatch(frames[sent:end])
			if err != nil && !errors.Is(err, vmnet.BufferExhausted) {
				k.Fatalf("write: %d, %v", n, err)
			}
			if n == 0 && err == nil {
				k.Fatalf("WriteBatch took nothing and gave no error")
			}
			sent += n
		}
		for f := k.tryRead(b); f != nil; f = k.tryRead(b) {
			if !bytes.Equal(f, frames[got]) {
				seq, _ := seqOf(f)
				k.Fatalf("frame %d arrived, want %d", seq, got)
			}
			got++
		}
		return got == total
	})
}

func framesReadBatch(k *kit) {
	a, b := k.two()
	var want [][]byte
	for seq := range window {
		want = append(want, frame(b.MAC(), a.MAC(), uint32(seq), minTest+seq))
	}
	k.send(a, want...)
	bufs, sizes := make([][]byte, 5), make([]int, 5)
	for x := range bufs {
		bufs[x] = make([]byte, b.MaxPacketSize())
	}
	got := 0
	k.poll("all frames of a batch arriving", func() bool {
		n, err := b.ReadBatch(bufs, sizes)
		if errors.Is(err, vmnet.ErrNoPackets) && n == 0 {
			return false
		}
		if err != nil || n < 1 || n > len(bufs) {
			k.Fatalf("ReadBatch: %d, %v", n, err)
		}
		for x := range n {
			f := bufs[x][:sizes[x]]
			if _, ok := seqOf(f); !ok {
				continue
			}
			if !bytes.Equal(f, want[got]) {
				k.Fatalf("frame %d differs: %d bytes, want %d", got, len(f), len(want[got]))
			}
			got++
		}
		return got == len(want)
	})
}

func framesOrder(k *kit) {
	a, b := k.two()
	for seq := uint32(0); seq < 2000; seq += window {
		batch := make([][]byte, window)
		for x := range batch {
			batch[x] = k.to(b, a, seq+uint32(x))
		}
		k.send(a, batch...)
		for _, f := range batch {
			k.expect(b, f)
		}
	}
}

func framesNotKept(k *kit) {
	a, b := k.two()
	want := k.to(b, a, 1)
	f := bytes.Clone(want)
	k.send(a, f)
	clear(f)
	got := k.next(b)
	if !bytes.Equal(got, want) {
		k.Fatalf("a frame changed after it was written")
	}
	k.send(a, k.to(b, a, 2))
	k.next(b)
	if !bytes.Equal(got, want) {
		k.Errorf("a buffer changed after it was read")
	}
}
