package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Running reports whether a process exists and has not ended. A zombie has
// ended: in a container without an init nobody may wait for it.
func Running(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	// The name is in parentheses and may hold any byte (proc_pid_stat(5)).
	_, rest, _ := strings.Cut(string(stat[bytes.LastIndexByte(stat, ')')+1:]), " ")
	return !strings.HasPrefix(rest, "Z")
}

// Processes returns the IDs of the processes of this user, but for this one,
// that were started for the machine: its directory is in their environment.
func (m *Machine) Processes() (pids []int) {
	environs, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, path := range environs {
		pid, _ := strconv.Atoi(strings.Split(path, "/")[2])
		env, err := os.ReadFile(path) // fails for those of others, and for one that has just ended
		if err == nil && pid != os.Getpid() && bytes.Contains(env, []byte("="+m.dir+"/")) {
			pids = append(pids, pid)
		}
	}
	return pids
}
