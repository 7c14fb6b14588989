package server

import (
	"runtime/metrics"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/pkg/ipam"
	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// spareFiles is how many descriptors a new attachment must leave for requests,
// state files and the flows of guests; with a low limit a quarter of it.
const spareFiles = 128

// headroom refuses an attachment that the process has no room for: those that are
// there must go on.
func (s *Server) headroom(k ipam.Key) error {
	if limit := s.cfg.Limits.Memory; limit > 0 {
		if used := memoryInUse(); used > limit {
			return shim.Errorf(shim.CodeExhausted, "attachment %s: this shim uses %d MiB of memory, its limit is %d", k, used>>20, limit>>20)
		}
	}
	if used, limit := openFiles(); used > limit-min(spareFiles, limit/4) {
		return shim.Errorf(shim.CodeExhausted, "attachment %s: this shim has about %d open files, of the %d that the system lets it have (RLIMIT_NOFILE)", k, used, limit)
	}
	return nil
}

// memoryInUse is what the Go runtime has from the system, in bytes.
func memoryInUse() int64 {
	m := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(m)
	return int64(m[0].Value.Uint64() - m[1].Value.Uint64())
}

// openFiles returns about how many descriptors are open, and how many may be: the
// number of a new one is the lowest that is free (open(2)). 0 of 0 when it is not
// known; what is short then shows itself.
func openFiles() (used, limit int) {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
		return 0, 0
	}
	limit = int(min(r.Cur, 1<<30))
	fd, err := unix.Open("/", unix.O_RDONLY|unix.O_CLOEXEC, 0) // package os asks the poller about it
	if err != nil {
		return limit, limit
	}
	_ = unix.Close(fd) // only its number counts
	return fd, limit
}
