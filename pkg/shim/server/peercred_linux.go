package server

import "golang.org/x/sys/unix"

// socketPeerUID uses SO_PEERCRED (unix(7)): the credentials at connect(2).
func socketPeerUID(fd int) (uint32, error) {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return 0, err
	}
	return cred.Uid, nil
}
