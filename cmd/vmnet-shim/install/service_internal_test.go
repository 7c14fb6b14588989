package install

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// TestManager has launchd and systemd answer, and looks at what they are asked.
func TestManager(t *testing.T) {
	const (
		show   = "launchctl print " + job
		out    = "launchctl bootout " + job
		in     = "launchctl bootstrap system /Library/LaunchDaemons/" + Label + ".plist"
		hup    = "launchctl kill SIGHUP " + job
		active = "systemctl is-active --quiet vmnet-shim.socket"
		enable = "systemctl daemon-reload,systemctl enable --now vmnet-shim.socket,systemctl try-reload-or-restart vmnet-shim.service"
		units  = "systemctl disable --now vmnet-shim.socket vmnet-shim.service"
	)
	busy, failed := "exit status 36: Boot-out failed: 36: Operation now in progress", "exit status 5: Bootstrap failed: 5: Input/output error"
	for _, tt := range []struct {
		name             string
		os               string
		macOS            int
		changed, job     bool
		fail             map[string][]string // errors, one for each time; "" is none
		start, stop, err string
	}{
		{"new", "darwin", 15, true, true, map[string][]string{show: {"no such process", ""}}, show + "," + in, show + "," + out, ""},
		{"another job", "darwin", 15, true, true, map[string][]string{out: {busy, ""}, in: {failed, ""}}, show + "," + out + "," + in + "," + in, show + "," + out, ""},
		{"another program", "darwin", 15, true, false, nil, show + "," + hup, show + "," + out, ""},
		{"as before", "darwin", 15, false, false, nil, show, show + "," + out, ""},
		{"not started before", "darwin", 15, false, false, map[string][]string{show: {"no such process", "no such process", ""}}, show + "," + show + "," + in, show + "," + out, ""},
		{"ended by hand", "darwin", 15, false, false, map[string][]string{show: {"", "no such process"}}, show, show, ""},
		{"refused", "darwin", 15, true, true, map[string][]string{show: {"no such process"}, in: {failed}}, show + "," + in, "", in + ": " + failed},
		{"agents", "darwin", 26, true, true, nil, "", "", ""},
		{"units", "linux", 0, true, false, nil, enable, units, ""},
		{"units as before", "linux", 0, false, false, nil, active, units, ""},
		{"units not started before", "linux", 0, false, false, map[string][]string{active: {"inactive"}}, active + "," + enable, units, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var ran []string
			i := &installer{rec: &record{}, changed: tt.changed, jobChanged: tt.job}
			i.Config = Config{OS: tt.os, MacOS: tt.macOS, Managed: func() bool { return true }, Out: &strings.Builder{}}
			i.Run = func(_ context.Context, name string, args ...string) error {
				line := shown(name, args)
				ran = append(ran, line)
				if list := tt.fail[line]; len(list) > 0 {
					tt.fail[line] = list[1:]
					if list[0] != "" {
						return errors.New(list[0])
					}
				}
				return nil
			}
			i.rec.add(entry{Path: i.plist(), Kind: kindFile})
			if tt.os == "linux" {
				i.rec.add(entry{Path: "/etc/systemd/system/" + Shim + ".socket", Kind: kindFile})
			}
			err := i.start(t.Context())
			if text := message(err); text != tt.err || strings.Join(ran, ",") != tt.start {
				t.Errorf("start: %q, ran\n%s", text, strings.Join(ran, "\n"))
			}
			if err != nil {
				return
			}
			ran = nil
			if err := i.stop(t.Context()); err != nil || strings.Join(ran, ",") != tt.stop {
				t.Errorf("stop: %v, ran\n%s", err, strings.Join(ran, "\n"))
			}
		})
	}
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
