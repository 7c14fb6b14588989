//go:build !linux

package server_test

import (
	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/shim/server"
)

// breakMachine does nothing: the faults are made on Linux only.
func breakMachine(shim.Dirs, *server.Limits) error { return nil }
