package doctor

import (
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
)

func configurations(ctx context.Context, p *patient) ([]Finding, error) {
	var f findings
	names := map[string]string{}
	validator := p.find(p.CNIPath, "vmnet")
	for _, c := range p.configs {
		p.configuration(ctx, &f, c, validator)
		if other, ok := names[c.name]; ok && c.name != "" {
			f.wrong(c.path+" and "+other+" both name the network "+c.name, "a runtime takes the first, and the shim refuses one name for two networks", "rename one of them")
		}
		names[c.name] = c.path
	}
	if validator == "" && len(p.configs) > 0 {
		return f, errors.New("validate configurations: no plugin vmnet")
	}
	return f, nil
}

func (p *patient) configuration(ctx context.Context, f *findings, c config, validator string) {
	if c.mode.Perm()&0o002 != 0 {
		f.wrong(c.path+" can be written by everybody", "who writes it chooses programs that the runtime starts", "sudo chmod o-w "+c.path)
	}
	if validator != "" {
		out, err := p.Run(ctx, p.at(validator), "validate", p.at(c.path))
		var exit *exec.ExitError
		if err != nil && errors.As(err, &exit) {
			for line := range strings.Lines(out) {
				line = strings.TrimSpace(strings.Replace(line, p.at(c.path), c.path, 1))
				f.wrong(line, "ADD fails with this configuration", "edit "+c.path+", then: vmnet validate "+c.path)
			}
		}
	}
	for _, other := range c.plugins {
		if other.Type == "" || other.Type == "vmnet" || p.find(p.CNIPath, other.Type) != "" {
			continue
		}
		f.wrong(c.path+": plugin "+other.Type+" is in none of "+strings.Join(p.CNIPath, ", "), "ADD fails when the chain comes to it",
			"install it (Debian: apt-get install containernetworking-plugins), or take it out of "+filepath.Base(c.path))
	}
	for _, other := range c.plugins {
		t := other.IPAM.Type
		if other.Type != "vmnet" || t == "" || t == "none" || p.find(p.CNIPath, t) != "" {
			continue
		}
		f.wrong(c.path+": IPAM plugin "+t+" is in none of "+strings.Join(p.CNIPath, ", "), "ADD fails before it makes anything", `install it, or set "ipam": {}`)
	}
}
