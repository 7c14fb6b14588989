//go:build !linux

package etcdstore_test

import "syscall"

func procAttr() *syscall.SysProcAttr { return nil }
