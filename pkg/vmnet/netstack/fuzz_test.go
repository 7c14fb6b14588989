package netstack_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
	"github.com/vmnet-cni/vmnet/pkg/vmnet/netstack"
)

// FuzzFrames has a guest send arbitrary frames, as they are and once more to the
// gateway. Nothing may panic, and the gateway must go on answering.
func FuzzFrames(f *testing.F) {
	for _, s := range []string{
		"",
		"ffffffffffff020000000001" + "0806" + "0001080006040001020000000001c0a87f02000000000000c0a87f01",
		"ffffffffffff020000000001" + "0800" + "4500001c000000004001000" + "0c0a87f02c0a87f010800f7ff00000000",
		"0200000000aa020000000001" + "0800" + "4500002800004000400600" + "00c0a87f02c0a87f0100160050000000000000000050020000000000" + "00",
		"0200000000aa020000000001" + "0800" + "46000020000020004011000" + "0c0a87f0208080808" + "94040000" + "0035003500080000",
		"0200000000aa020000000001" + "0800" + "4500001c0000200040110000c0a87f02080808080035003500080000",
		"0200000000aa020000000001" + "8100000a0800",
		"0200000000aa020000000001" + "86dd6000000000003aff",
		"3333ff000001020000000001" + "86dd6000000000203aff" + "fd000127000000000000000000000002" + "ff0200000000000000000001ff000001" +
			"8700000000000000" + "fd000127000000000000000000000001" + "0101020000000001",
		"0200000000aa020000000001" + "86dd6000000000083a40" + "fd000127000000000000000000000002" + "fd000127000000000000000000000001" + "8000000000010001",
		"0200000000aa020000000001" + "86dd6000000000100040" + "fd000127000000000000000000000002" + "20010db8000000000000000000000001" + "1100010400000000" + "0035003500080000",
		"0200000000aa020000000001" + "86dd6000000000102c40" + "fd000127000000000000000000000002" + "20010db8000000000000000000000001" + "1100000100000001" + "0035003500080000",
	} {
		b, err := hex.DecodeString(s)
		if err != nil {
			f.Fatalf("%s: %v", s, err)
		}
		f.Add(b)
	}
	n := openNetwork(f, netstack.Config{}, func(c *vmnet.NetworkConfig) { c.Mode, c.Subnet6 = vmnet.Host, subnet6 })
	a, b := startDevice(f, n), startDevice(f, n)
	gateway := vmnet.GatewayMAC(n.Info().Name)
	f.Fuzz(func(t *testing.T, frame []byte) {
		k, err := a.WriteBatch([][]byte{frame})
		switch {
		case len(frame) < vmnet.HeaderLen && !errors.Is(err, vmnet.InvalidArgument),
			len(frame) > a.Info().MaxPacketSize && !errors.Is(err, vmnet.PacketTooBig):
			t.Fatalf("%d bytes: %d, %v", len(frame), k, err)
		}
		if err != nil {
			return
		}
		again := append([]byte(nil), frame...)
		copy(again, gateway)
		if _, err := a.WriteBatch([][]byte{again, again}); err != nil {
			t.Fatal(err)
		}
		if len(again) > 34 { // as a packet to the gateway's own address
			copy(again[12:], []byte{8, 0, 0x45})
			copy(again[26:], []byte{192, 168, 127, 2, 192, 168, 127, 1})
			again[16], again[17] = byte((len(again)-14)>>8), byte(len(again)-14)
			if _, err := a.WriteBatch([][]byte{again}); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(frame[6:12], a.Info().MAC) {
			drain(t, b)
		}
		drain(t, a)
	})
}
