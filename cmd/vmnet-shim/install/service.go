package install

import "context"

// start makes the service known to its manager and starts it, when anything was
// changed or it is not there.
func (in *installer) start(ctx context.Context) error {
	if in.NoService || !in.changed || !in.live() {
		return nil
	}
	if in.OS == "linux" {
		if err := in.run(ctx, "systemctl", "daemon-reload"); err != nil {
			return err
		}
		return in.run(ctx, "systemctl", "enable", "--now", Shim+".socket")
	}
	if in.agent() {
		in.note("each user's shim starts at the next login, or when the plugin needs it")
		return nil
	}
	_ = in.run(ctx, "launchctl", "bootout", "system/"+Label) // it may not run
	return in.run(ctx, "launchctl", "bootstrap", "system", in.plist())
}

// stop ends the service, when one was installed.
func (in *installer) stop(ctx context.Context) error {
	if !in.live() || !in.hasService() {
		return nil
	}
	if in.OS == "linux" {
		return in.run(ctx, "systemctl", "disable", "--now", Shim+".socket", Shim+".service")
	}
	if in.agent() {
		return nil
	}
	return in.run(ctx, "launchctl", "bootout", "system/"+Label)
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
