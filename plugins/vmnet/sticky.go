package main

import (
	"encoding/json"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// Limits of the built-in allocator's keys.
const (
	maxSticky     = shim.MaxStickyKey - 1 - shim.MaxIfName // bytes; the interface's name is added
	maxQuarantine = 30 * 24 * time.Hour
)

// parseLease reads the keys of "ipam" that are the built-in allocator's.
func (c *config) parseLease(o *object) {
	l := &c.Lease
	if o.take("stickyKey", &l.StickyKey, "a name") && l.StickyKey != "" && !isSticky(l.StickyKey) {
		o.fail(badValue("ipam.stickyKey", l.StickyKey, "printable text of at most %d bytes", maxSticky))
	}
	if o.take("quarantine", &l.Quarantine, `a duration, as "10m"`) {
		if d, err := time.ParseDuration(l.Quarantine); err != nil || d < 0 || d > maxQuarantine {
			o.fail(badValue("ipam.quarantine", l.Quarantine, `a duration of at most %s, as "10m"`, maxQuarantine))
		}
	}
	if o.take("whenFull", &l.WhenFull, "reuse or refuse") {
		switch l.WhenFull {
		case "", shim.WhenFullReuse, shim.WhenFullRefuse:
		default:
			o.fail(badValue("ipam.whenFull", l.WhenFull, "reuse or refuse"))
		}
	}
}

// isSticky reports whether s can be a stable name.
func isSticky(s string) bool {
	return s != "" && len(s) <= maxSticky && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// The labels of args.cni that name a container for good: one of our own, and what
// Kubernetes calls a pod (k8s.io/cri-api's well-known labels).
const (
	labelSticky    = "vmnet.sticky-key"
	labelNamespace = "io.kubernetes.pod.namespace"
	labelName      = "io.kubernetes.pod.name"
)

// stickyOf returns the stable name that args.cni has, in its labels or in the keys
// that others put into CNI_ARGS, or "". Labels are information for who knows them
// (CONVENTIONS.md): what is not understood is no error.
func stickyOf(cni *object) string {
	var list []struct{ Key, Value string }
	_ = json.Unmarshal(cni.raw("labels"), &list) // nothing is in what cannot be read
	labels := map[string]string{}
	for _, l := range list {
		labels[l.Key] = l.Value
	}
	if s := labels[labelSticky]; isSticky(s) {
		return s
	}
	if s := podName(labels[labelNamespace], labels[labelName]); s != "" {
		return s
	}
	var namespace, name string
	_ = json.Unmarshal(cni.raw("K8S_POD_NAMESPACE"), &namespace)
	_ = json.Unmarshal(cni.raw("K8S_POD_NAME"), &name)
	return podName(namespace, name)
}

// podName returns the stable name of a pod, "" where there is none. Podman sends
// the container's name and no namespace.
func podName(namespace, name string) string {
	if name != "" && namespace != "" {
		name = namespace + "/" + name
	}
	if !isSticky(name) {
		return ""
	}
	return name
}

// leasePolicy is how the shim chooses the address: the configuration's own name
// comes before what the caller says of the container. A container may have
// several interfaces in a network.
func (c *call) leasePolicy(want wanted) shim.LeasePolicy {
	if c.conf.Spec.IPAM != shim.IPAMBuiltin || c.conf.Spec.Mode == vmnet.Bridged {
		return shim.LeasePolicy{}
	}
	l := c.conf.Lease
	if l.StickyKey == "" {
		l.StickyKey = want.Sticky
	}
	if l.StickyKey != "" {
		l.StickyKey += "/" + c.env.IfName
	}
	return l
}
