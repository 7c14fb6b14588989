package vmnettest

import (
	"bytes"
	"errors"
	"net"
	"reflect"

	"github.com/google/uuid"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

func infoCases() []testCase {
	return []testCase{
		{"sane", false, "Info tells a UUID, a unicast MAC, an MTU, a MaxPacketSize with room for the header, batches of at least 1, and the network's addresses; it never changes", infoSane},
		{"identity", false, "the same UUID gets the same MAC, on a later network too; a zero UUID is a new one each time", infoIdentity},
		{"wanted MAC", false, "Config.MAC is honoured (or refused with errors.ErrUnsupported where the system chooses)", infoMAC},
		{"bad MAC", false, "a MAC that is not a unicast address of 6 bytes is refused with InvalidArgument (or errors.ErrUnsupported)", infoBadMAC},
	}
}

func infoSane(k *kit) {
	n := k.open(nil)
	d := k.device(n, vmnet.Config{})
	i, w := d.Info(), n.Info()
	if i.UUID == (uuid.UUID{}) {
		k.Errorf("no UUID")
	}
	if len(i.MAC) != 6 || i.MAC[0]&1 != 0 || bytes.Equal(i.MAC, make([]byte, 6)) {
		k.Errorf("MAC %s", i.MAC)
	}
	if i.MTU != w.MTU {
		k.Errorf("MTU %d, the network's is %d", i.MTU, w.MTU)
	}
	if i.MaxPacketSize < i.MTU+vmnet.HeaderLen {
		k.Errorf("MaxPacketSize %d with MTU %d", i.MaxPacketSize, i.MTU)
	}
	if i.ReadBatch < 1 || i.WriteBatch < 1 {
		k.Errorf("batches of %d and %d", i.ReadBatch, i.WriteBatch)
	}
	if i.Subnet != w.Subnet || i.Gateway != w.Gateway || i.Subnet6 != w.Subnet6 {
		k.Errorf("subnet %s, gateway %s, subnet6 %s; the network's are %s, %s, %s",
			i.Subnet, i.Gateway, i.Subnet6, w.Subnet, w.Gateway, w.Subnet6)
	}
	ifc := vmnet.NewInterface(w.Name, d)
	if !bytes.Equal(ifc.MAC(), i.MAC) || ifc.MTU() != i.MTU || ifc.UUID() != i.UUID || ifc.MaxPacketSize() != i.MaxPacketSize {
		k.Errorf("the Interface %s tells another story than %+v", ifc, i)
	}
	if err := ifc.Close(); err != nil {
		k.Errorf("close: %v", err)
	}
	if again := d.Info(); !reflect.DeepEqual(again, i) {
		k.Errorf("Info changed from %+v to %+v", i, again)
	}
}

func infoIdentity(k *kit) {
	id := uuid.New()
	n := k.open(nil)
	first := k.device(n, vmnet.Config{UUID: id})
	other := k.device(n, vmnet.Config{})
	want := first.Info().MAC
	if got := first.Info().UUID; got != id {
		k.Errorf("UUID %s, want %s", got, id)
	}
	if o := other.Info(); bytes.Equal(o.MAC, want) || o.UUID == id {
		k.Errorf("two interfaces with MAC %s and UUIDs %s and %s", want, id, o.UUID)
	}
	first.Close()
	if !k.h.Direct {
		again := k.device(n, vmnet.Config{UUID: id})
		if got := again.Info().MAC; !bytes.Equal(got, want) {
			k.Errorf("started again: MAC %s, want %s", got, want)
		}
	}
	n.Close()
	later := k.device(k.open(nil), vmnet.Config{UUID: id})
	if got := later.Info().MAC; !bytes.Equal(got, want) {
		k.Errorf("on a later network: MAC %s, want %s", got, want)
	}
}

func infoMAC(k *kit) {
	want := net.HardwareAddr{0x02, 0x5e, 0xed, 0x12, 0x34, 0x56}
	n := k.open(nil)
	if k.h.NoMAC {
		if d, err := n.Start(k.ctx, vmnet.Config{MAC: want}); !errors.Is(err, errors.ErrUnsupported) {
			k.Errorf("start: %v", err)
			if err == nil {
				d.Close()
			}
		}
		return
	}
	cfg := vmnet.Config{UUID: uuid.New(), MAC: bytes.Clone(want)}
	d := k.device(n, cfg)
	cfg.MAC[5]++ // the driver must have its own copy
	if i := d.Info(); !bytes.Equal(i.MAC, want) || i.UUID != cfg.UUID {
		k.Errorf("MAC %s and UUID %s, want %s and %s", i.MAC, i.UUID, want, cfg.UUID)
	}
}

func infoBadMAC(k *kit) {
	n := k.open(nil)
	for _, mac := range []net.HardwareAddr{broadcast, {0x01, 0, 0x5e, 0, 0, 1}, {2, 0, 0, 0, 1}, {2, 0, 0, 0, 0, 0, 0, 1}} {
		d, err := n.Start(k.ctx, vmnet.Config{MAC: mac})
		if !errors.Is(err, vmnet.InvalidArgument) && !errors.Is(err, errors.ErrUnsupported) {
			k.Errorf("MAC %s: %v", mac, err)
		}
		if err == nil {
			d.Close()
		}
	}
}
