package main

import (
	"strings"
)

// parseArgs adds what CNI_ARGS ask for: "KEY=value;KEY=value". Runtimes write
// the pairs in random order, so all are read before an unknown key is judged.
func (w *wanted) parseArgs(s string) error {
	var mac, ip, host, namespace, pod string
	var unknown []string
	ignore := false
	for pair := range strings.SplitSeq(s, ";") {
		if pair == "" && s == "" {
			break
		}
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" || strings.Contains(value, "=") {
			return errorf(codeEnv, "CNI_ARGS: pair %q: want KEY=value", pair)
		}
		switch {
		case key == "IgnoreUnknown":
			if ignore, ok = parseBool(value); !ok {
				return errorf(codeEnv, "CNI_ARGS: IgnoreUnknown %q: want 1, 0, true or false", value)
			}
		case key == "MAC":
			mac = value
		case key == "IP":
			ip = value
		case key == "NERDCTL_CNI_DHCP_HOSTNAME":
			host = value
		case key == "K8S_POD_NAME":
			pod = value
		case key == "K8S_POD_NAMESPACE":
			namespace = value
		case strings.HasPrefix(key, "K8S_POD_"):
		default:
			unknown = append(unknown, key+"="+value)
		}
	}
	if len(unknown) > 0 && !ignore {
		return errorf(codeEnv, "CNI_ARGS: unknown %s: want IP, MAC, NERDCTL_CNI_DHCP_HOSTNAME or K8S_POD_…, or IgnoreUnknown=1",
			strings.Join(unknown, ", "))
	}
	var ips []string
	if ip != "" {
		ips = strings.Split(ip, ",")
	}
	w.merge("CNI_ARGS MAC", mac, "CNI_ARGS IP", ips)
	if w.Sticky == "" {
		w.Sticky = podName(namespace, pod)
	}
	return w.hostname(host, pod)
}

// hostname takes the name that was meant for DHCP, else the pod's where it can
// be a host's: names of pods may have dots and be longer than a label.
func (w *wanted) hostname(host, pod string) error {
	switch {
	case host == "":
		if isLabel(pod) {
			w.Hostname = pod
		}
	case !isDomain(host):
		return errorf(codeEnv, "CNI_ARGS: NERDCTL_CNI_DHCP_HOSTNAME %q: want a host name", host)
	default:
		w.Hostname = host
	}
	return nil
}

// parseBool reads the values that the CNI library's UnmarshallableBool takes.
func parseBool(s string) (v, ok bool) {
	switch strings.ToLower(s) {
	case "1", "true":
		return true, true
	case "0", "false":
		return false, true
	}
	return false, false
}
