//go:build unix

package main

import "log/syslog"

// dialSyslog connects to the system's log, where this program is a daemon named
// vmnet.
func dialSyslog() (systemLog, error) { return syslog.New(syslog.LOG_DAEMON|syslog.LOG_INFO, "vmnet") }
