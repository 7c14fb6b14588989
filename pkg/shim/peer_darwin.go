package shim

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// peerUID uses LOCAL_PEERCRED (unix(4), <sys/ucred.h>): the credentials at
// connect(2), or, for the side that connected, at listen(2).
func peerUID(fd int) (uint32, error) {
	cred, err := unix.GetsockoptXucred(fd, unix.SOL_LOCAL, unix.LOCAL_PEERCRED)
	if err != nil {
		return 0, err
	}
	if cred.Version != 0 { // XUCRED_VERSION
		return 0, fmt.Errorf("peer credentials of version %d, want 0", cred.Version)
	}
	return cred.Uid, nil
}
