package shim

import (
	"net/netip"
	"strconv"
)

// A Forward is a port of the host that leads to the guest.
type Forward struct {
	Protocol string `json:"protocol"` // "tcp" or "udp", tcp when empty
	// HostIP is the host's address that takes part; all of them when zero.
	HostIP        netip.Addr `json:"hostIP,omitzero"`
	HostPort      uint16     `json:"hostPort"`
	ContainerPort uint16     `json:"containerPort"`
}

// String returns the host's side as "tcp 127.0.0.1:8080", with * for all
// addresses.
func (f Forward) String() string {
	port := strconv.Itoa(int(f.HostPort))
	if !f.HostIP.IsValid() {
		return f.Protocol + " *:" + port
	}
	return f.Protocol + " " + netip.AddrPortFrom(f.HostIP, f.HostPort).String()
}

// Bandwidth bounds the rates of frames: in bits per second, their headers
// included, and in bits. Ingress is towards the guest. A rate of zero is no
// limit. A burst of zero, or of UnlimitedBurst or more, says nothing, and less
// than what passes in 20 ms, or than two of the largest frames, is taken as that
// much.
type Bandwidth struct {
	IngressRate  uint64 `json:"ingressRate,omitempty"`
	IngressBurst uint64 `json:"ingressBurst,omitempty"`
	EgressRate   uint64 `json:"egressRate,omitempty"`
	EgressBurst  uint64 `json:"egressBurst,omitempty"`
}

// UnlimitedBurst is what containerd sends for a burst that nobody asked for, in
// bits. Taken by the word it would let half a gigabyte pass before the rate holds.
const UnlimitedBurst = 1<<32 - 1
