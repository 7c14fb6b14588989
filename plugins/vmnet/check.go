package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"

	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// check compares the attachment with the result of ADD and changes nothing: no
// shim is started. Interfaces, routes and DNS that other plugins added to the
// result are not its business.
func check(c *call) (output, error) {
	prev, err := prevResult(c.conf)
	if err != nil {
		return output{}, err
	}
	if prev == nil {
		return output{}, errorf(codeConfig, "prevResult is missing: CHECK wants the result of ADD")
	}
	ours := findInterface(prev, c.env)
	if ours == nil {
		return output{}, errorf(codeConfig, "prevResult: want an interface %q with sandbox %q", c.env.IfName, c.env.NetNS)
	}
	client, err := c.ensure(false)
	if err != nil {
		return output{}, err
	}
	defer client.Close()
	a, err := client.Attachment(c.ctx, c.conf.Name, c.env.ContainerID, c.env.IfName)
	if err != nil {
		return output{}, err
	}
	if drift := compare(a, ours, addresses(prev, ours)); len(drift) > 0 {
		return output{}, errorf(codeDrift, "attachment %s/%s/%s differs from the result of ADD: %s",
			a.Network, a.ContainerID, a.IfName, strings.Join(drift, "; "))
	}
	return output{}, c.ipamRun()
}

// addresses returns those of the interface ours in res, as text.
func addresses(res *types100.Result, ours *types100.Interface) []string {
	var out []string
	for _, ip := range res.IPs {
		if i := ip.Interface; i != nil && *i >= 0 && *i < len(res.Interfaces) && res.Interfaces[*i] == ours {
			out = append(out, ip.Address.String())
		}
	}
	slices.Sort(out)
	return out
}

// compare lists what differs. Versions before 1.0.0 have no mtu and no
// socketPath in a result.
func compare(a shim.Attachment, ours *types100.Interface, addrs []string) (drift []string) {
	differs := func(what string, recorded, found any) {
		drift = append(drift, fmt.Sprintf("%s: result has %v, attachment has %v", what, recorded, found))
	}
	if mac, err := net.ParseMAC(ours.Mac); err != nil || mac.String() != a.MAC {
		differs("mac", ours.Mac, a.MAC)
	}
	if ours.Mtu != 0 && ours.Mtu != a.MTU {
		differs("mtu", ours.Mtu, a.MTU)
	}
	var have []string
	for _, ip := range a.IPs {
		have = append(have, ip.Address.String())
	}
	slices.Sort(have)
	if !slices.Equal(have, addrs) {
		differs("ips", addrs, have)
	}
	if ours.SocketPath != "" && ours.SocketPath != a.SocketPath {
		differs("socketPath", ours.SocketPath, a.SocketPath)
	}
	if a.Problem != "" {
		drift = append(drift, a.Problem)
	}
	for _, path := range []string{a.DgramSocketPath, a.StreamSocketPath} {
		if err := isSocket(path); err != nil {
			drift = append(drift, err.Error())
		}
	}
	return drift
}

func isSocket(path string) error {
	if path == "" {
		return nil
	}
	info, err := os.Lstat(path)
	if err != nil {
		return fmt.Errorf("socket %s: %w", path, errors.Unwrap(err))
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("socket %s: is not a socket any more", path)
	}
	return nil
}
