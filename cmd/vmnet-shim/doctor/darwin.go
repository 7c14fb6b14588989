package doctor

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"

	"github.com/vmnet-cni/vmnet/pkg/shim"
)

const (
	entitlement = "com.apple.security.virtualization"
	socketfilt  = "/usr/libexec/ApplicationFirewall/socketfilterfw"
	bootpd      = "/usr/libexec/bootpd"
	natPlist    = "/Library/Preferences/SystemConfiguration/com.apple.nat.plist"
	// maxInterfaces is Apple's limit for all programs together (documentation of
	// vmnet_start_interface).
	maxInterfaces = 32
)

// signature matters where the framework asks for the entitlement in root's stead:
// macOS 26 and newer.
func signature(ctx context.Context, p *patient) ([]Finding, error) {
	var f findings
	if _, err := p.Run(ctx, "xattr", "-p", "com.apple.quarantine", p.Program); err == nil {
		f.wrong(p.Program+" is in quarantine", "macOS does not start it, or asks first", "xattr -d com.apple.quarantine "+p.Program)
	}
	if p.MacOS < 16 {
		return f, nil
	}
	for _, dir := range []string{"Documents", "Desktop"} {
		if in := filepath.Join(p.Home, dir) + "/"; p.Home != "" && strings.HasPrefix(p.Program, in) {
			f.wrong(p.Program+" lies under ~/"+dir, "macOS 26 makes no networks for programs there", "sudo vmnet-shim install")
		}
	}
	if p.UID == 0 {
		return f, nil
	}
	out, err := p.Run(ctx, "codesign", "-d", "--entitlements", "-", "--xml", p.Program)
	if err != nil {
		f.wrong(p.Program+" is not signed", "macOS 26 lets users have networks if their program has the entitlement "+entitlement, sign(p.Program))
		return f, nil
	}
	has, err := parsePlist([]byte(out))
	if dict, ok := has.(map[string]any); err != nil || !ok || dict[entitlement] != true {
		f.wrong(p.Program+" is signed without "+entitlement, "vmnet.framework answers 1001 or 1002, as if there were no privilege", sign(p.Program))
	}
	return f, nil
}

func sign(program string) string {
	return "sudo vmnet-shim install, or: codesign -f -s - --entitlements packaging/macos/entitlements.plist " + program
}

// firewall matters to guests that get their address from the system: the shim's
// own answers never pass it.
func firewall(ctx context.Context, p *patient) ([]Finding, error) {
	state, err := p.Run(ctx, socketfilt, "--getglobalstate")
	if err != nil {
		return nil, cannot(socketfilt, err)
	}
	if strings.Contains(state, "disabled") {
		return nil, nil
	}
	all, _ := p.Run(ctx, socketfilt, "--getblockall")
	signed, _ := p.Run(ctx, socketfilt, "--getallowsigned")
	apps, _ := p.Run(ctx, socketfilt, "--listapps")
	if !bootpdBlocked(all, signed, apps) {
		return nil, nil
	}
	mend := fmt.Sprintf("sudo %s --add %s && sudo %s --unblock %s; sudo even where it says it worked without", socketfilt, bootpd, socketfilt, bootpd)
	if out, err := p.Run(ctx, "profiles", "status", "-type", "enrollment"); err == nil && managed(out) {
		mend = "ask whoever manages this Mac to allow " + bootpd + ": socketfilterfw changes nothing on managed Macs, and exits with 0 all the same"
	}
	var f findings
	const what, why = "the application firewall blocks " + bootpd, "guests get no address from macOS' DHCP server"
	for _, c := range p.configs {
		if o, ok := c.ours(); ok && o.IPAM.Type == "none" && o.Driver != shim.DriverNetstack && o.Mode != "bridged" {
			f.wrong(what, why+": "+c.path+` has "ipam": {"type": "none"}`, mend+`; or let the shim give addresses: "ipam": {}`)
			return f, nil
		}
	}
	f.note(what, why+"; those of the shim's networks get theirs from the shim", mend)
	return f, nil
}

var bootpdEntry = regexp.MustCompile(`/usr/libexec/bootpd\s*\n\s*\(\s*(\w+) incoming connections\s*\)`)

// bootpdBlocked reads the answers of socketfilterfw to --getblockall,
// --getallowsigned and --listapps. An entry of bootpd's own wins over the rule for
// signed software.
func bootpdBlocked(blockAll, allowSigned, apps string) bool {
	lower := strings.ToLower(blockAll)
	if strings.Contains(lower, "block all") && !strings.Contains(lower, "disabled") || strings.Contains(lower, "set to block all") {
		return true
	}
	if m := bootpdEntry.FindStringSubmatch(apps); m != nil {
		return !strings.EqualFold(m[1], "allow")
	}
	for line := range strings.Lines(strings.ToLower(allowSigned)) {
		// Up to macOS 12 one line stands for both kinds of software.
		if strings.Contains(line, "enabled") && !strings.Contains(line, "downloaded") {
			return false
		}
	}
	return true
}

// managed reads what "profiles status -type enrollment" prints.
func managed(out string) bool {
	for line := range strings.Lines(out) {
		if key, value, _ := strings.Cut(strings.TrimSpace(line), ":"); key == "MDM enrollment" {
			return strings.HasPrefix(strings.TrimSpace(value), "Yes")
		}
	}
	return false
}

// localNetwork tries to reach guests. The permission itself cannot be asked for.
func localNetwork(ctx context.Context, p *patient) ([]Finding, error) {
	var f findings
	if p.MacOS < 15 || p.UID == 0 {
		return nil, nil
	}
	for _, a := range p.shim.Attachments {
		if a.Driver != shim.DriverVmnet || !a.Peer.Connected {
			continue
		}
		for _, ip := range a.IPs {
			if err := p.Dial(ctx, ip.Address.Addr()); errors.Is(err, syscall.EHOSTUNREACH) {
				f.wrong(fmt.Sprintf("no route to the guest %s %s", a.ContainerID, ip.Address.Addr()), "macOS keeps programs without the permission Local Network from guests; if \"sudo ping\" reaches it and \"ping\" does not, it is that",
					"System Settings, Privacy & Security, Local Network: allow the terminal or the program (open x-apple.systempreferences:com.apple.preference.security)")
				return f, nil
			}
		}
	}
	return nil, nil
}

func internetSharing(ctx context.Context, p *patient) ([]Finding, error) {
	out, err := p.Run(ctx, "plutil", "-convert", "xml1", "-o", "-", natPlist)
	if err != nil {
		return nil, nil // it was never switched on
	}
	v, err := parsePlist([]byte(out))
	if err != nil {
		return nil, cannot(natPlist, err)
	}
	dict, _ := v.(map[string]any)
	nat, _ := dict["NAT"].(map[string]any)
	if on := nat["Enabled"]; on != int64(1) && on != true {
		return nil, nil
	}
	var f findings
	f.wrong("Internet Sharing is on", "it has the service that vmnet.framework needs: starts fail with 1001 or 1009", "System Settings, General, Sharing: switch Internet Sharing off")
	return f, nil
}

func interfaces(ctx context.Context, p *patient) ([]Finding, error) {
	out, err := p.Run(ctx, "ifconfig", "-l")
	if err != nil {
		return nil, cannot("ifconfig -l", err)
	}
	n := 0
	for _, name := range strings.Fields(out) {
		if strings.HasPrefix(name, "vmenet") {
			n++
		}
	}
	var f findings
	switch {
	case n >= maxInterfaces:
		f.wrong(fmt.Sprintf("%d interfaces of vmnet.framework are there, and %d is the limit", n, maxInterfaces), "the next guest gets none", "end guests (vmnet-shim ls), or programs that use the framework; a restart of the Mac removes what is left over")
	case n >= maxInterfaces-4:
		f.note(fmt.Sprintf("%d of %d interfaces of vmnet.framework are there", n, maxInterfaces), "the limit is for all programs together", "vmnet-shim ls")
	}
	return f, nil
}

// vpn looks where the default route goes: NAT stays with the uplink of the moment
// when a network was made.
func vpn(ctx context.Context, p *patient) ([]Finding, error) {
	var f findings
	if !p.has(shim.DriverVmnet) {
		return nil, nil
	}
	out, err := p.Run(ctx, "route", "-n", "get", "default")
	if err != nil {
		return nil, cannot("route -n get default", err)
	}
	if link := defaultLink(out); kind(link) != "" {
		f.note("the default route is by "+link+kind(link), "shared networks keep the uplink that they began with: when the VPN comes or goes, guests lose the way out", "start the guests again after the VPN, or use bridged mode")
	}
	return f, nil
}

// defaultLink reads what "route -n get default" prints.
func defaultLink(out string) string {
	for line := range strings.Lines(out) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "interface:"); ok {
			return strings.TrimSpace(name)
		}
	}
	return ""
}
