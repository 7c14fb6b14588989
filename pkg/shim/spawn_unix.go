//go:build unix

package shim

import (
	"os/exec"
	"syscall"
)

// detach gives the command a session of its own, so that signals to the
// caller's terminal or process group do not reach it.
func detach(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
}
