// Package stages holds the benchmark of what the relay's stages cost together:
// guard, DHCPv4 and DHCPv6 servers, counters and the idle hook of captures. See
// docs/performance.md.
package stages
