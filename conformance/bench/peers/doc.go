//go:build peers

// Package peers names the programs that make bench builds and runs beside ours.
//
// It is a module of its own, so that what they need stays out of the go.mod that
// users of the packages get.
package peers

import _ "github.com/containers/gvisor-tap-vsock/cmd/gvproxy"
