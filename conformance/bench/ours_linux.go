package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// A cniResult is what is needed of a result of ADD.
type cniResult struct {
	Interfaces []struct {
		MAC        string `json:"mac"`
		SocketPath string `json:"socketPath"`
	} `json:"interfaces"`
	IPs []struct{ Address, Gateway string } `json:"ips"`
}

// ours starts a shim in the host's namespace and attaches a guest to the driver by the
// plugin, as a runtime would: frames is dgram or stream for a simple guest behind that
// socket, tap for a container whose tap the shim makes.
func ours(w *world, o options, driver, frames, name string) (contender, error) {
	s, err := startShim(w, o, driver+"-"+frames)
	if err != nil {
		return contender{}, err
	}
	g, err := s.attach(w, driver, frames, "one")
	return contender{name: name, ours: true, guest: g, pid: s.pid}, err
}

// An ourShim is a shim of ours and the plugin for it.
type ourShim struct {
	plugin string
	env    []string
	pid    int
}

func startShim(w *world, o options, name string) (*ourShim, error) {
	bin, err := filepath.Abs(o.bin)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(w.dir, name)
	s := &ourShim{plugin: filepath.Join(bin, "vmnet"), env: []string{
		"VMNET_RUNTIME_DIR=" + filepath.Join(dir, "run"), "VMNET_STATE_DIR=" + filepath.Join(dir, "state"), "CNI_PATH=" + bin,
	}}
	argv := []string{filepath.Join(bin, "vmnet-shim"), "serve"}
	if o.profiles != "" {
		if err := os.MkdirAll(o.profiles, 0o755); err != nil { //nolint:gosec // for everybody to read
			return nil, err
		}
		profile, err := filepath.Abs(filepath.Join(o.profiles, "shim-"+name+".pprof"))
		if err != nil {
			return nil, err
		}
		argv = append(argv, "--cpuprofile", profile)
	}
	sock := filepath.Join(dir, "run", "shim.sock")
	p, err := w.startQuiet(w.host, "shim-"+name, s.env, func() bool { return exists(sock) }, argv...)
	if err == nil && o.profiles != "" {
		w.gentle = append(w.gentle, w.procs[len(w.procs)-1]) // writes its profile at the end
	}
	s.pid = p.pid
	return s, err
}

// attach executes ADD and returns the guest's namespace.
func (s *ourShim) attach(w *world, driver, frames, id string) (string, error) {
	conf := map[string]any{"cniVersion": "1.1.0", "name": "bench", "type": "vmnet", "driver": driver}
	netns, ns := "vm://"+id, ""
	if frames == "tap" {
		var err error
		if ns, err = w.namespace(); err != nil {
			return "", err
		}
		netns = ns
	} else {
		conf["frames"] = frames
	}
	stdin, err := json.Marshal(conf)
	if err != nil {
		return "", err
	}
	cmd := w.in(w.host, s.plugin)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &stdout, &stderr
	cmd.Env = append(os.Environ(), append(s.env, "CNI_COMMAND=ADD", "CNI_CONTAINERID="+id, "CNI_IFNAME=eth0", "CNI_NETNS="+netns)...)
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("ADD: %w: %s%s", err, &stdout, &stderr)
	}
	if frames == "tap" {
		return ns, nil
	}
	var r cniResult
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
		return "", err
	}
	for _, ip := range r.IPs {
		if !strings.Contains(ip.Address, ":") {
			return w.behind(frames, r.Interfaces[0].SocketPath, ip.Address, ip.Gateway, r.Interfaces[0].MAC)
		}
	}
	return "", fmt.Errorf("ADD: no IPv4 address: %s", &stdout)
}
