package etcdstore_test

import "syscall"

// procAttr lets a member end with the test program, even when that is killed.
func procAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
