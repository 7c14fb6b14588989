package main

import (
	"context"
	"net/netip"

	"github.com/vmnet-cni/vmnet/pkg/ipam/hostnet"
)

// hostPrefixes returns what the host has in use.
func hostPrefixes(context.Context) ([]netip.Prefix, error) { return hostnet.InUse() }
