package etcdtest

import "syscall"

// procAttr lets the member end with the test program, even when that is killed.
func procAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
