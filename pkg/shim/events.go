package shim

import "time"

// Types of Event.
const (
	EventAttached    = "attached"     // an attachment was made
	EventDetached    = "detached"     // an attachment was deleted
	EventRestored    = "restored"     // an attachment was brought back at the shim's start, with Detail "kept" descriptors
	EventBroken      = "broken"       // an attachment could not be brought back
	EventHandedOver  = "handed-over"  // a frame fd was given or taken
	EventGuest       = "guest"        // a guest connected
	EventGuestGone   = "guest-gone"   // the guest has gone
	EventDrops       = "drops"        // many frames were dropped in a short time
	EventNetwork     = "network"      // a network was opened
	EventNetworkGone = "network-gone" // a network was closed
	EventAddress     = "address"      // an address was seen on the wire
	EventShim        = "shim"         // the shim began to serve this stream; Detail counts "restored", "broken", "kept"
	EventLost        = "lost"         // the stream's reader was slow, and events are missing
	EventShimLeaves  = "shim-leaves"  // the shim ends; the stream ends with it
	EventCapture     = "capture"      // a capture began
)

// An Event is something that happened. GET /v1/events answers with one as a line of
// JSON for each.
type Event struct {
	Time        time.Time `json:"time"`
	Type        string    `json:"type"`
	Network     string    `json:"network,omitempty"`
	ContainerID string    `json:"containerID,omitempty"`
	IfName      string    `json:"ifname,omitempty"`
	// Detail says more, by names that depend on Type.
	Detail map[string]string `json:"detail,omitempty"`
}
