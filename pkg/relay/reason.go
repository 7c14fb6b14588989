package relay

import "fmt"

// A Reason says why a frame was dropped. The text forms are part of the API.
type Reason uint8

// Reasons. Those that a Stage may give are at the end.
const (
	ReasonNone             Reason = iota // not dropped
	ReasonRunt                           // shorter than an Ethernet header
	ReasonGreeting                       // "VFKT", vfkit's greeting
	ReasonTooBig                         // longer than the interface's largest frame
	ReasonNoPeer                         // no guest is there
	ReasonPeerFull                       // the guest's queue stayed full
	ReasonPeerGone                       // the guest went while the frame was on its way
	ReasonPeerError                      // the guest's socket refused the frame otherwise
	ReasonOtherPeer                      // from a second guest while the first is alive
	ReasonUnnamed                        // from a socket without a name, which cannot be answered
	ReasonOutOfStep                      // a stream announced an impossible length
	ReasonInterfaceFull                  // the interface's buffers stayed exhausted
	ReasonInterface                      // the interface refused the frame
	ReasonClosed                         // the relay or its interface was closed
	ReasonStage                          // a stage dropped it and gave no reason
	ReasonMalformed                      // a stage could not make sense of it
	ReasonPolicy                         // a stage does not allow it
	ReasonRateLimit                      // over a limit of frames or bytes per second
	ReasonGuardMAC                       // from another MAC than the guest's
	ReasonGuardIP                        // from another IP address than the guest's
	ReasonGuardARP                       // ARP that tells another address than the guest's
	ReasonGuardND                        // neighbour discovery that tells another address than the guest's
	ReasonGuardDHCP                      // what a DHCP server sends
	ReasonGuardRA                        // what a router sends: advertisements and redirects
	ReasonGuardVLAN                      // a VLAN tag, behind which the guard does not look
	ReasonGuardDestination               // to where the guest may not send
	numReasons
)

var reasonText = [numReasons]string{
	ReasonNone:             "none",
	ReasonRunt:             "runt",
	ReasonGreeting:         "greeting",
	ReasonTooBig:           "too-big",
	ReasonNoPeer:           "no-peer",
	ReasonPeerFull:         "peer-full",
	ReasonPeerGone:         "peer-gone",
	ReasonPeerError:        "peer-error",
	ReasonOtherPeer:        "other-peer",
	ReasonUnnamed:          "unnamed-peer",
	ReasonOutOfStep:        "out-of-step",
	ReasonInterfaceFull:    "interface-full",
	ReasonInterface:        "interface-error",
	ReasonClosed:           "closed",
	ReasonStage:            "stage",
	ReasonMalformed:        "malformed",
	ReasonPolicy:           "policy",
	ReasonRateLimit:        "rate-limit",
	ReasonGuardMAC:         "guard-mac",
	ReasonGuardIP:          "guard-ip",
	ReasonGuardARP:         "guard-arp",
	ReasonGuardND:          "guard-nd",
	ReasonGuardDHCP:        "guard-dhcp",
	ReasonGuardRA:          "guard-ra",
	ReasonGuardVLAN:        "guard-vlan",
	ReasonGuardDestination: "guard-destination",
}

// String returns the text form, as it stands in Direction.Drops.
func (r Reason) String() string {
	if r < numReasons {
		return reasonText[r]
	}
	return fmt.Sprintf("reason(%d)", uint8(r))
}
