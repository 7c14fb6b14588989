//go:build (darwin || linux) && (amd64 || arm64)

package framework

import (
	"os"
	"strconv"

	"github.com/google/uuid"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// Values of vmnet_operation_mode_key and of vmnet_mode_t.
const (
	modeHost    = 1000
	modeShared  = 1001
	modeBridged = 1002
)

var modeNumber = map[vmnet.Mode]uint64{vmnet.Host: modeHost, vmnet.Shared: modeShared, vmnet.Bridged: modeBridged}

// describe returns the dictionary for vmnet_start_interface, or for
// vmnet_interface_start_with_network on a logical network. The caller releases it.
func (n *network) describe(c vmnet.Config) *dict {
	a, d := n.drv.api, n.drv.api.newDict()
	if n.kind != logical { // which do not know it, and give another MAC at every start
		d.setUUID("interface identity", a.keyID, c.UUID)
	}
	if c.MAC != nil || n.kind == logical {
		// The guest has an address of its own.
		d.setBool("mac", a.keyAllocateMAC, false)
	}
	if n.cfg.Isolated {
		d.setBool("isolated", a.keyIsolation, true)
	}
	if n.cfg.Offload {
		n.describeOffload(d, n.headed(c))
	}
	if n.kind == logical {
		return d
	}
	d.setUint64("mode", a.keyMode, modeNumber[n.cfg.Mode])
	if n.cfg.Mode == vmnet.Bridged {
		d.setString("bridged mode", a.keyUplink, n.cfg.Uplink)
		return d // an MTU would be an error here
	}
	if n.cfg.MTU != vmnet.DefaultMTU {
		d.setUint64("mtu", a.keyMTU, uint64(n.cfg.MTU))
	}
	if n.kind == classicH {
		n.describeHost(d)
	} else {
		n.describeSubnet(d)
	}
	return d
}

// headed reports whether the frames of an interface have a virtio-net header before
// them: where that is wanted, and known to the system (macOS 15.4).
func (n *network) headed(c vmnet.Config) bool {
	return n.cfg.Offload && c.VnetHeader && n.drv.api.keyVirtio.addr != 0
}

// describeOffload sets segments of 64 KiB and checksum offload as one: guests
// need both (krunkit), and the virtio header excludes the latter.
func (n *network) describeOffload(d *dict, header bool) {
	a := n.drv.api
	d.setBool("offload", a.keyTSO, true)
	if header {
		d.setBool("offload with a virtio header", a.keyVirtio, true)
	} else {
		d.setBool("offload", a.keyChecksum, true)
	}
}

// describeHost makes a host network with an identifier: a bridge of its own,
// without a DHCP server (macOS 11).
func (n *network) describeHost(d *dict) {
	a := n.drv.api
	d.setUUID("host network", a.keyNetID, networkID(n.cfg))
	if n.cfg.Layer2 {
		return
	}
	if n.cfg.Subnet.IsValid() {
		d.setString("host network", a.keyHostIP, n.cfg.Gateway.String())
		d.setString("host network", a.keyHostMask, mask(n.cfg.Subnet).String())
	}
	if n.cfg.Subnet6.IsValid() {
		d.setString("subnet6", a.keyHostIP6, vmnet.FirstAddr(n.cfg.Subnet6).String())
	}
}

// networkID returns the identifier of a host network: the same for the same
// network of the same user, so that its interfaces meet on one bridge, also
// those of a shim that was started again.
func networkID(cfg vmnet.NetworkConfig) uuid.UUID {
	return uuid.NewSHA1(uuid.NameSpaceDNS, []byte("host\x00"+strconv.Itoa(os.Getuid())+"\x00"+cfg.Name+"\x00"+cfg.Subnet.String()))
}

// describeSubnet sets the three addresses, all or none; the system's DHCP server
// has those after the first.
func (n *network) describeSubnet(d *dict) {
	a := n.drv.api
	if n.cfg.Subnet.IsValid() && n.cfg.RangeEnd.IsValid() && !n.cfg.Layer2 {
		d.setString("subnet", a.keyStart, n.cfg.Gateway.String())
		d.setString("subnet", a.keyEnd, n.cfg.RangeEnd.String())
		d.setString("subnet", a.keyMask, mask(n.cfg.Subnet).String())
	}
	if n.cfg.Subnet6.IsValid() && !n.cfg.Layer2 && n.cfg.Mode == vmnet.Shared {
		d.setString("subnet6", a.keyNAT66, n.cfg.Subnet6.Addr().String())
		if a.keyTSO.addr == 0 && a.keyNAT66Len.addr != 0 {
			d.setUint64("subnet6", a.keyNAT66Len, 64) // only before macOS 11
		}
	}
}
