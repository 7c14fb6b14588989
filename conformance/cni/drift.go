package cni

import (
	"errors"
	"fmt"
	"os/exec"
)

// cannotDrift is the exit code of a hook that cannot do what it is asked.
const cannotDrift = 77

// drift changes part of an attachment behind the plugin's back: with the target's
// hook, or else in the isolation domain itself. It reports whether it was done.
func (p *probe) drift(a *attachment, what string) bool {
	if p.target.Drift != "" {
		name, _ := a.conf()["name"].(string)
		_, err := p.hook(p.target.Drift, "CNI_DRIFT="+what, "CNI_NETWORK="+name,
			"CNI_CONTAINERID="+a.id, "CNI_IFNAME="+a.ifname, "CNI_NETNS="+a.netns)
		var ee *exec.ExitError
		switch {
		case err == nil:
			return true
		case !errors.As(err, &ee) || ee.ExitCode() != cannotDrift:
			p.stopf("drift hook, %s: %v", what, hookError(err))
		}
	}
	ns := p.domains.state()
	if ns == nil || p.target.Kind == KindIPAM {
		return false
	}
	done, err := ns.drift(a.netns, a.ifname, what)
	if err != nil {
		p.stopf("drift, %s: %v", what, err)
	}
	return done
}

func hookError(err error) error {
	var ee *exec.ExitError
	if errors.As(err, &ee) {
		return fmt.Errorf("%w: %s", err, clip(ee.Stderr))
	}
	return err
}

// delDaemon needs a hook that knows the plugin's daemon.
func delDaemon(p *probe) {
	a := p.attachment(0)
	a.mustAdd()
	if !p.drift(a, "daemon-stop") {
		p.skipf("no hook that stops the plugin's daemon: it has none, or none was told")
	}
	o := a.del()
	p.ok("DEL without the daemon", o)
	p.drift(a, "daemon-start")
	p.ok("DEL with the daemon again", a.del())
	b := p.attachment(0)
	b.mustAdd()
	if !p.drift(b, "daemon-hang") {
		return
	}
	o = b.del()
	p.drift(b, "daemon-resume")
	p.refused("DEL while the daemon hangs", o, 11)
	p.ok("DEL after that", b.del())
}
