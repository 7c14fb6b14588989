package main

import (
	"fmt"
	"math"
	"os"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/vmnet-cni/vmnet/pkg/shim/server"
	"github.com/vmnet-cni/vmnet/pkg/vmnet/netstack"
)

// limitFlags bound what clients and guests can make the shim hold.
type limitFlags struct {
	server.Limits
	guest  netstack.Limits
	memory string
}

// defaultMemory is what the shim may have: an attachment that does nothing has 60
// KiB of it, one whose guest does not read 8 MiB at most.
const defaultMemory = "2GiB"

func (f *limitFlags) register(fl *pflag.FlagSet) {
	fl.IntVar(&f.Attachments, "max-attachments", 1024, "most attachments at once")
	fl.IntVar(&f.UserAttachments, "max-user-attachments", 0, "most attachments of each user but root and the shim's own (default a quarter of all)")
	fl.IntVar(&f.Networks, "max-networks", 256, "most networks at once")
	fl.IntVar(&f.Connections, "max-connections", 256, "most connections to the API at once; more wait")
	fl.StringVar(&f.memory, "max-memory", defaultMemory, `memory, as "512MiB": the garbage collector keeps below it as long as it can, and there are no more attachments beyond it; 0 for no limit`)
	fl.IntVar(&f.guest.TCPPerGuest, "max-tcp-flows", 0, "netstack: most TCP flows of a guest (default 2048)")
	fl.IntVar(&f.guest.TCPTotal, "max-network-tcp-flows", 0, "netstack: most TCP flows of a network (default 8192)")
	fl.IntVar(&f.guest.UDPPerGuest, "max-udp-flows", 0, "netstack: most UDP flows of a guest (default 1024)")
	fl.IntVar(&f.guest.UDPTotal, "max-network-udp-flows", 0, "netstack: most UDP flows of a network (default 4096)")
	fl.IntVar(&f.guest.Sockets, "max-sockets", 0, "netstack: most sockets of the host for flows of all guests, a quarter of them for each guest (default half of RLIMIT_NOFILE)")
	fl.IntVar(&f.guest.FloodRate, "max-broadcasts", 0, "netstack: most broadcast, multicast and unknown frames of a guest in a second (default 2000)")
	fl.IntVar(&f.guest.QueueBytes, "max-queue-bytes", 0, "netstack: most bytes that wait for a guest (default 8 MiB)")
}

// apply checks the values and sets the limit of the garbage collector, unless the
// user did so with GOMEMLIMIT.
func (f *limitFlags) apply() error {
	for name, n := range map[string]int{
		"max-attachments": f.Attachments, "max-user-attachments": f.UserAttachments, "max-networks": f.Networks, "max-connections": f.Connections,
		"max-tcp-flows": f.guest.TCPPerGuest, "max-network-tcp-flows": f.guest.TCPTotal, "max-udp-flows": f.guest.UDPPerGuest,
		"max-network-udp-flows": f.guest.UDPTotal, "max-sockets": f.guest.Sockets, "max-broadcasts": f.guest.FloodRate, "max-queue-bytes": f.guest.QueueBytes,
	} {
		if n < 0 {
			return fmt.Errorf("--%s %d: want 0 or more", name, n)
		}
	}
	n, err := parseSize(f.memory)
	if err != nil {
		return fmt.Errorf("--max-memory %q: want a size, as 512MiB, or 0", f.memory)
	}
	f.Memory = n
	if n > 0 && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(n)
	}
	return nil
}

// parseSize reads a number of bytes with the units of GOMEMLIMIT.
func parseSize(s string) (int64, error) {
	unit := int64(1)
	for i, suffix := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if rest, ok := strings.CutSuffix(s, suffix); ok {
			s, unit = rest, 1<<(10*(i+1))
		}
	}
	n, err := strconv.ParseInt(strings.TrimSuffix(s, "B"), 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/unit {
		return 0, strconv.ErrRange
	}
	return n * unit, nil
}
