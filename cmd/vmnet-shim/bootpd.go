package main

import (
	"os"
	"runtime"

	"github.com/vmnet-cni/vmnet/internal/bootpd"
)

// bootpdEnv names another file than macOS' own with the leases of its DHCP server.
const bootpdEnv = "VMNET_BOOTPD_LEASES"

// bootpdLeases is where the system's DHCP server has its leases, "" where there is
// no such server.
func bootpdLeases() string {
	if path := os.Getenv(bootpdEnv); path != "" || runtime.GOOS != "darwin" {
		return path
	}
	return bootpd.Path
}
