package shim

import "golang.org/x/sys/unix"

// peerUID uses SO_PEERCRED (unix(7)): the credentials at connect(2), or, for the
// side that connected, at listen(2).
func peerUID(fd int) (uint32, error) {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return 0, err
	}
	return cred.Uid, nil
}
