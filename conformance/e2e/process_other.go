//go:build !linux

package e2e

import "syscall"

// Running reports whether a process exists. One that has ended exists until
// somebody has waited for it; on macOS launchd does that at once.
func Running(pid int) bool { return syscall.Kill(pid, 0) == nil }

// Processes returns nothing: what processes of this machine were started with is
// not to be had here without ps(1). The shim's process is known by its ID.
func (m *Machine) Processes() (pids []int) { return nil }
