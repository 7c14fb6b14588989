package install

import (
	"context"
	"errors"
	"strings"
	"time"
)

// start makes the service known to its manager and starts it, when anything was
// changed or it is not there. A shim that runs takes up what is new.
func (in *installer) start(ctx context.Context) error {
	if in.NoService || !in.live() || !in.changed && in.runs(ctx) {
		return nil
	}
	if in.OS == "linux" {
		if err := in.run(ctx, "systemctl", "daemon-reload"); err != nil {
			return err
		}
		if err := in.run(ctx, "systemctl", "enable", "--now", Shim+".socket"); err != nil {
			return err
		}
		in.upgrade(ctx, "systemctl", "try-reload-or-restart", Shim+".service")
		return nil
	}
	if in.agent() {
		in.note("each user's shim starts at the next login, or when the plugin needs it")
		return nil
	}
	return in.startDaemon(ctx)
}

// upgrade has a shim that runs make room for one of the program that is installed
// now; guests stay connected.
func (in *installer) upgrade(ctx context.Context, name string, args ...string) {
	if err := in.run(ctx, name, args...); err != nil {
		in.note("%v: the shim from before goes on; vmnet-shim upgrade ends it", err)
	}
}

// job is launchd's name of the system's daemon.
const job = "system/" + Label

// Times of launchd: a job that is booted out ends within its ExitTimeOut, 20 s, and
// its label is free some seconds later; until then bootstrap fails with 5,
// "Input/output error".
const (
	bootstrapPatience = 40 * time.Second
	bootstrapPause    = 500 * time.Millisecond
)

// startDaemon has launchd run the daemon as its job says now.
func (in *installer) startDaemon(ctx context.Context) error {
	loaded := in.loaded(ctx)
	if loaded && !in.jobChanged {
		in.upgrade(ctx, "launchctl", "kill", "SIGHUP", job)
		return nil
	}
	if loaded {
		if err := in.run(ctx, "launchctl", "bootout", job); err != nil {
			in.note("%v", err) // 36, "Operation now in progress", is none; of others bootstrap tells
		}
	}
	err := in.run(ctx, "launchctl", "bootstrap", "system", in.plist())
	for end := time.Now().Add(bootstrapPatience); err != nil && loaded && time.Now().Before(end); {
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(bootstrapPause):
		}
		err = in.Run(ctx, "launchctl", "bootstrap", "system", in.plist())
	}
	return err
}

// runs reports whether the service's manager does its part already. In a dry run and
// for agents, which no manager of the system has, it says so.
func (in *installer) runs(ctx context.Context) bool {
	if in.DryRun || in.OS == "darwin" && in.agent() {
		return true
	}
	if in.OS == "darwin" {
		return in.loaded(ctx)
	}
	return in.Run(ctx, "systemctl", "is-active", "--quiet", Shim+".socket") == nil
}

// loaded reports whether launchd has the job.
func (in *installer) loaded(ctx context.Context) bool {
	return !in.DryRun && in.Run(ctx, "launchctl", "print", job) == nil
}

// stop ends the service, when one was installed.
func (in *installer) stop(ctx context.Context) error {
	if !in.live() || !in.hasService() {
		return nil
	}
	if in.OS == "linux" {
		return in.run(ctx, "systemctl", "disable", "--now", Shim+".socket", Shim+".service")
	}
	if in.agent() || !in.DryRun && !in.loaded(ctx) {
		return nil
	}
	if err := in.run(ctx, "launchctl", "bootout", job); err != nil {
		if in.loaded(ctx) && !strings.Contains(err.Error(), "36: ") {
			return err
		}
		in.note("%v: it is ending", err)
	}
	return nil
}

// hasService reports whether a unit or job is recorded.
func (in *installer) hasService() bool {
	return in.rec.index("/etc/systemd/system/"+Shim+".socket") >= 0 || in.rec.index(in.plist()) >= 0
}

// reload has systemd forget the units.
func (in *installer) reload(ctx context.Context) error {
	if in.OS != "linux" || !in.live() {
		return nil
	}
	return in.run(ctx, "systemctl", "daemon-reload")
}
