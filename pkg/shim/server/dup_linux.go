package server

import "golang.org/x/sys/unix"

const dupCloexec = unix.F_DUPFD_CLOEXEC
