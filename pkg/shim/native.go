package shim

import (
	"context"
)

// A Serialization is what another process of this host needs to join a network
// past the shim, through the framework: for runtimes whose guests have a
// VZVmnetNetworkDeviceAttachment. docs/api.md says what such a guest goes without.
type Serialization struct {
	Network string `json:"network"`
	Driver  string `json:"driver"`
	// Key and Data make the dictionary that vmnet_network_create_with_serialization
	// takes: Data is its only value, as the framework gave it.
	Key  string `json:"key"`
	Data []byte `json:"data"` // base64 in JSON
	// PID is the shim's process. The network ends with it.
	PID int `json:"pid"`
	// Notes say to people what a native attachment is not.
	Notes []string `json:"notes"`
}

// Serialization returns what another process needs to join the network through
// the framework. The error has CodeUnsupported where the network's driver has
// nothing like it: only logical networks of driver vmnet (macOS 26) do.
func (c *Client) Serialization(ctx context.Context, network string) (Serialization, error) {
	var s Serialization
	return s, c.call(ctx, "serialize network "+network, methodGet, networkPath(network)+"/serialization", nil, &s)
}
