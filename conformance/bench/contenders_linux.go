package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// A contender carries a guest's traffic to the outside.
type contender struct {
	name  string
	ours  bool
	guest string // network namespace
	pid   int    // of the process whose processor time counts; 0: the kernel
}

// A setUp makes a contender.
type setUp struct {
	name string
	make func(*world, options) (contender, error)
}

func setUps() []setUp {
	return []setUp{
		{kernelName, kernelNAT},
		{kernelTap, kernelBehindTap},
		{oursTap, func(w *world, o options) (contender, error) { return ours(w, o, "netstack", "tap", oursTap) }},
		{oursDgram, func(w *world, o options) (contender, error) { return ours(w, o, "netstack", "dgram", oursDgram) }},
		{oursStream, func(w *world, o options) (contender, error) { return ours(w, o, "netstack", "stream", oursStream) }},
		{oursBridged, func(w *world, o options) (contender, error) { return ours(w, o, "tap", "stream", oursBridged) }},
		{"gvproxy, datagrams", func(w *world, o options) (contender, error) { return gvproxy(w, o, "dgram") }},
		{"gvproxy, stream", func(w *world, o options) (contender, error) { return gvproxy(w, o, "stream") }},
		{"passt", passt},
		{"slirp4netns", slirp},
	}
}

const (
	kernelName = "kernel (limit)"
	kernelTap  = "kernel, tap"
	oursTap    = "netstack, tap"
	oursDgram  = "netstack, datagrams"
	oursStream = "netstack, stream"
	// The relay between a stream and a tap on the kernel's bridge.
	oursBridged = "driver tap, stream"
)

// kernelNAT is nftables' masquerading between two veths, with no offload on the
// guest's, as a tap without offloads has none.
func kernelNAT(w *world, _ options) (contender, error) {
	g, err := w.namespace()
	if err != nil {
		return contender{}, err
	}
	off := func(ns, dev string) error {
		return w.sh(ns, "ethtool", "-K", dev, "tso", "off", "gso", "off", "gro", "off", "sg", "off", "tx", "off")
	}
	rules := filepath.Join(w.dir, "nat.nft")
	err = errors.Join(
		w.ip(w.host, "link add guest0 type veth peer name eth0 netns "+w.pid(g)),
		w.ip(w.host, "addr add 203.0.113.1/24 dev guest0"),
		w.ip(w.host, "link set guest0 up"),
		off(w.host, "guest0"), off(g, "eth0"),
		w.guest(g, "eth0", "203.0.113.2/24", "203.0.113.1", ""),
		os.WriteFile(rules, []byte("table ip bench { chain post { type nat hook postrouting priority srcnat; oifname up0 masquerade; }; }\n"), 0o600),
		w.sh(w.host, "nft", "-f", rules),
	)
	return contender{name: kernelName, guest: g}, err
}

// kernelBehindTap is the same with the simple guest in front that sockets have: the
// kernel moves frames from and to a tap.
func kernelBehindTap(w *world, _ options) (contender, error) {
	g, err := w.namespace()
	if err != nil {
		return contender{}, err
	}
	if _, err := w.start(g, w.self, "child-forward", "eth0", "tap", "guest1"); err != nil {
		return contender{}, err
	}
	err = errors.Join(
		w.ip(g, "link set guest1 netns "+w.pid(w.host)),
		w.ip(w.host, "addr add 192.0.2.1/24 dev guest1"),
		w.ip(w.host, "link set guest1 up"),
		w.guest(g, "eth0", "192.0.2.2/24", "192.0.2.1", ""),
	)
	return contender{name: kernelTap, guest: g}, err
}

// guest gives a guest's network card its addresses.
func (w *world) guest(ns, dev, addr, gateway, mac string) error {
	var merr error
	if mac != "" {
		merr = w.ip(ns, "link set "+dev+" address "+mac)
	}
	return errors.Join(merr, w.ip(ns, "addr add "+addr+" dev "+dev), w.ip(ns, "link set "+dev+" mtu 1500 up"),
		w.ip(ns, "route add default via "+gateway))
}

// behind makes a simple guest behind a frame socket.
func (w *world) behind(kind, socket, addr, gateway, mac string) (string, error) {
	g, err := w.namespace()
	if err != nil {
		return "", err
	}
	if _, err := w.start(g, w.self, "child-forward", "eth0", kind, socket); err != nil {
		return "", err
	}
	return g, w.guest(g, "eth0", addr, gateway, mac)
}

func gvproxy(w *world, o options, kind string) (contender, error) {
	path := filepath.Join(w.dir, "gv-"+kind)
	listen := map[string]string{"dgram": "-listen-vfkit=unixgram://", "stream": "-listen-qemu=unix://"}
	p, err := w.startQuiet(w.host, "gvproxy-"+kind, nil, func() bool { return exists(path) },
		filepath.Join(o.bin, "gvproxy"), listen[kind]+path, "-mtu=1500", "-ssh-port=-1")
	if err != nil {
		return contender{}, err
	}
	g, err := w.behind(kind, path, "192.168.127.2/24", "192.168.127.1", "5a:94:ef:e4:0c:ee")
	names := map[string]string{"dgram": "gvproxy, datagrams", "stream": "gvproxy, stream"}
	return contender{name: names[kind], guest: g, pid: p.pid}, err
}

func passt(w *world, _ options) (contender, error) {
	if _, err := exec.LookPath("passt"); err != nil {
		return contender{}, err
	}
	// passt becomes nobody, who must be able to make its socket.
	dir := filepath.Join(w.dir, "passt")
	if err := errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, 0o777)); err != nil { //nolint:gosec // below a directory of ours
		return contender{}, err
	}
	path := filepath.Join(dir, "s")
	p, err := w.startQuiet(w.host, "passt", nil, func() bool { return exists(path) },
		"passt", "-f", "-q", "-4", "-s", path, "-m", "1500", "-i", "up0", "-a", "10.0.2.15", "-n", "24", "-g", "10.0.2.2", "-D", "none", "-S", "none")
	if err != nil {
		return contender{}, err
	}
	time.Sleep(100 * time.Millisecond) // between bind and listen nothing can be seen
	g, err := w.behind("stream", path, "10.0.2.15/24", "10.0.2.2", "")
	return contender{name: "passt", guest: g, pid: p.pid}, err
}

func slirp(w *world, _ options) (contender, error) {
	if _, err := exec.LookPath("slirp4netns"); err != nil {
		return contender{}, err
	}
	g, err := w.namespace()
	if err != nil {
		return contender{}, err
	}
	up := func() bool {
		out, err := w.in(g, "ip", "route").Output()
		return err == nil && strings.Contains(string(out), "default")
	}
	p, err := w.startQuiet(w.host, "slirp4netns", nil, up, "slirp4netns", "-c", "-m", "1500", "--netns-type=path", g, "tap0")
	if err != nil {
		return contender{}, fmt.Errorf("slirp4netns: %w", err)
	}
	return contender{name: "slirp4netns", guest: g, pid: p.pid}, nil
}
