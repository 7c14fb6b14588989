// Package doctor looks at a machine the way somebody who has seen these failures
// before would: "vmnet-shim doctor" prints what is wrong, why that matters, and the
// command that mends it. It changes nothing.
//
// A check is a function from a Machine to findings. A Machine is files below a
// root, commands and questions to the system, all of which a test plants; checks
// for macOS read the output of its commands and so run in tests everywhere.
package doctor

import (
	"context"
	"fmt"
	"slices"
)

// Levels of findings.
const (
	// Wrong: something does not work, or will not.
	Wrong = "wrong"
	// Note: all works, and could be better.
	Note = "note"
)

// A Finding is one thing that is not as it should be.
type Finding struct {
	Check string `json:"check"`
	Level string `json:"level"` // Wrong or Note
	What  string `json:"what"`
	Why   string `json:"why"`
	Mend  string `json:"mend"` // a command, where one mends it
}

// A Result is what one check came to.
type Result struct {
	Check string `json:"check"`
	About string `json:"about"`
	// State is "good", Wrong, Note, or "skipped" where it could not look.
	State  string `json:"state"`
	Reason string `json:"reason,omitempty"` // why it was skipped
}

// A Report is what all checks came to.
type Report struct {
	Healthy  bool      `json:"healthy"` // nothing is Wrong
	Checks   []Result  `json:"checks"`
	Findings []Finding `json:"findings"`
}

// A check looks at one thing. An error says that it could not look.
type check struct {
	name, about string
	os          string // "": all
	look        func(context.Context, *patient) ([]Finding, error)
}

func checks() []check {
	return []check{
		{"programs", "vmnet and vmnet-shim are installed, of one version, and safe to run as root", "", programs},
		{"signature", "vmnet-shim is signed with the entitlement of vmnet.framework", "darwin", signature},
		{"privileges", "the configured drivers may do what they need", "", privileges},
		{"directories", "runtime and state directory have the right owner and mode, and room", "", directories},
		{"shim", "the shim answers, is of this version and has no problems", "", running},
		{"cni-config", "the CNI configurations are valid and their plugins installed", "", configurations},
		{"subnets", "networks' subnets are free of the host's addresses, routes and VPNs", "", subnets},
		{"offload", "no network mixes guests with and without offload", "", offload},
		{"sysctls", "settings of the kernel that networks need", "linux", sysctls},
		{"devices", "/dev/kvm and /dev/net/tun can be opened", "linux", devices},
		{"firewall", "the application firewall lets DHCP through", "darwin", firewall},
		{"local-network", "programs of this user may reach guests", "darwin", localNetwork},
		{"internet-sharing", "Internet Sharing is off", "darwin", internetSharing},
		{"interfaces", "there is room for more interfaces", "darwin", interfaces},
		{"vpn", "shared networks leave by the uplink, not by a VPN that comes and goes", "darwin", vpn},
		{"leftovers", "nothing is left of shims and guests that are gone", "", leftovers},
	}
}

// Examine runs every check.
func Examine(ctx context.Context, m Machine) Report {
	p := examine(ctx, m)
	r := Report{Healthy: true, Findings: []Finding{}}
	for _, c := range checks() {
		if c.os != "" && c.os != m.OS {
			continue
		}
		if m.Looking != nil {
			m.Looking(c.about)
		}
		found, err := c.look(ctx, p)
		res := Result{Check: c.name, About: c.about, State: "good"}
		if err != nil {
			res.State, res.Reason = "skipped", err.Error()
		}
		for i := range found {
			found[i].Check = c.name
			if res.State != Wrong {
				res.State = found[i].Level
			}
		}
		r.Healthy = r.Healthy && res.State != Wrong
		r.Checks = append(r.Checks, res)
		r.Findings = append(r.Findings, found...)
	}
	slices.SortStableFunc(r.Findings, func(a, b Finding) int { return rank(a) - rank(b) })
	return r
}

func rank(f Finding) int {
	if f.Level == Wrong {
		return 0
	}
	return 1
}

// findings collects.
type findings []Finding

func (f *findings) wrong(what, why, mend string) {
	*f = append(*f, Finding{"", Wrong, what, why, mend})
}
func (f *findings) note(what, why, mend string) { *f = append(*f, Finding{"", Note, what, why, mend}) }

// errorf is fmt.Errorf, for checks that could not look.
func cannot(what string, err error) error { return fmt.Errorf("%s: %w", what, err) }
