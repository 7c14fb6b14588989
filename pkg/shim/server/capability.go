package server

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/vmnet-cni/vmnet/pkg/relay"
	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// Limits of one request.
const (
	maxForwards = 256 // as driver netstack has
	maxAliases  = 64
)

// normalizeForwards checks the forwards, sorts them and leaves out repetitions.
func normalizeForwards(r *shim.AttachRequest) error {
	switch {
	case len(r.Forwards) == 0:
		r.Forwards = nil
		return nil
	case len(r.Forwards) > maxForwards:
		return shim.Invalidf("forwards", strconv.Itoa(len(r.Forwards)), "entries, want at most %d", maxForwards)
	case !tellsAddresses(r.Network):
		return shim.Invalidf("forwards", r.Forwards[0].String(), "ipam %q gives the guest no address to forward to", r.Network.IPAM)
	}
	for i := range r.Forwards {
		if err := normalizeForward(fmt.Sprintf("forwards[%d].", i), &r.Forwards[i]); err != nil {
			return err
		}
	}
	slices.SortFunc(r.Forwards, compareForwards)
	r.Forwards = slices.Compact(r.Forwards)
	for i, f := range r.Forwards[1:] {
		if before := r.Forwards[i]; f.String() == before.String() {
			return shim.Invalidf("forwards", f.String(), "leads to ports %d and %d, want one", before.ContainerPort, f.ContainerPort)
		}
	}
	return nil
}

func normalizeForward(key string, f *shim.Forward) error {
	switch p := strings.ToLower(f.Protocol); p {
	case "", "tcp":
		f.Protocol = "tcp"
	case "udp":
		f.Protocol = p
	case "sctp":
		return unsupported(key+"protocol", f.Protocol, "no driver forwards SCTP, want tcp or udp")
	default:
		return shim.Invalidf(key+"protocol", f.Protocol, "want tcp or udp")
	}
	f.HostIP = f.HostIP.Unmap()
	switch {
	case f.HostIP.Zone() != "":
		return shim.Invalidf(key+"hostIP", f.HostIP.String(), "want an address without a zone")
	case f.HostPort == 0:
		return shim.Invalidf(key+"hostPort", "0", "want a port from 1 to 65535")
	case f.ContainerPort == 0:
		return shim.Invalidf(key+"containerPort", "0", "want a port from 1 to 65535")
	}
	return nil
}

func compareForwards(a, b shim.Forward) int {
	return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), a.HostIP.Compare(b.HostIP),
		cmp.Compare(a.HostPort, b.HostPort), cmp.Compare(a.ContainerPort, b.ContainerPort))
}

// normalizeBandwidth leaves out bursts that say nothing.
func normalizeBandwidth(r *shim.AttachRequest) error {
	b := &r.Bandwidth
	for _, l := range []struct{ rate, burst *uint64 }{{&b.IngressRate, &b.IngressBurst}, {&b.EgressRate, &b.EgressBurst}} {
		if *l.rate == 0 || *l.burst >= shim.UnlimitedBurst {
			*l.burst = 0
		}
	}
	return nil
}

// limitsOf are the limits of the relay; ingress is towards the guest.
func limitsOf(b shim.Bandwidth) relay.Limits {
	return relay.Limits{
		ToGuest:   relay.Limit{Rate: b.IngressRate, Burst: b.IngressBurst},
		FromGuest: relay.Limit{Rate: b.EgressRate, Burst: b.EgressBurst},
	}
}

// normalizeAliases checks the aliases, in lower case and each once. Their order
// stays: the first may be the name that the address leads back to.
func normalizeAliases(r *shim.AttachRequest) error {
	switch {
	case len(r.Aliases) == 0:
		r.Aliases = nil
		return nil
	case len(r.Aliases) > maxAliases:
		return shim.Invalidf("aliases", strconv.Itoa(len(r.Aliases)), "entries, want at most %d", maxAliases)
	case !tellsAddresses(r.Network):
		return shim.Invalidf("aliases", r.Aliases[0], "ipam %q gives the guest no address to name", r.Network.IPAM)
	}
	var list []string
	for _, alias := range r.Aliases {
		name := strings.ToLower(shortID(alias))
		switch {
		case !isLabel(name):
			return shim.Invalidf("aliases", alias, "want DNS labels: 1 to 63 letters, digits and inner hyphens")
		case isReserved(name):
			return shim.Invalidf("aliases", alias, "is a name of the gateway's own")
		case !slices.Contains(list, name):
			list = append(list, name)
		}
	}
	r.Aliases = list
	return nil
}

// isLabel reports whether s is one label of a name, as isDomain takes it.
func isLabel(s string) bool { return isDomain(s) && !strings.Contains(s, ".") }

func isReserved(name string) bool { return name == vmnet.NameGateway || name == vmnet.NameHost }

// namesOf are the labels by which a guest is known: the first one of its
// hostname, its aliases, its container ID. What cannot be a name, or is the
// gateway's, is left out.
func namesOf(r *attachmentRecord) []string {
	host, _, _ := strings.Cut(r.Request.Hostname, ".")
	var list []string
	for _, name := range slices.Concat([]string{host}, r.Request.Aliases, []string{shortID(r.ContainerID)}) {
		if name = strings.ToLower(name); isLabel(name) && !isReserved(name) && !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	return list
}

// shortID returns the first twelve digits of a container ID of 64 hexadecimal
// digits, one more than a label may have, as docker and podman show it; anything
// else as it is.
func shortID(s string) string {
	if len(s) == 64 && strings.Trim(s, "0123456789abcdef") == "" {
		return s[:12]
	}
	return s
}

// unsupported is the error for a value that is right and asks for what cannot be.
func unsupported(key, value, why string) error {
	return &shim.Error{Code: shim.CodeUnsupported, Key: key, Value: value, Message: fmt.Sprintf("%s %q: %s", key, value, why)}
}

// guestAddrs are the addresses of a guest that names and forwards lead to.
func guestAddrs(a *attachment) []netip.Addr { return a.rec.addrs() }
