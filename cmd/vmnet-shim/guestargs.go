package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// guestArgs are the flags of the commands that print how a runtime takes an
// attachment.
type guestArgs struct {
	out             output
	network, ifname string
}

// A dialect prints the arguments of a runtime for attachment number n.
type dialect func(n int, a shim.Attachment) ([]string, error)

func (g *guestArgs) command(cmd *cobra.Command, say dialect) *cobra.Command {
	cmd.Args = cobra.ExactArgs(1)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		list, err := ask(cmd, &g.out, func() ([]shim.Attachment, error) { return g.find(cmd.Context(), args[0]) })
		if err != nil {
			return err
		}
		all := []string{}
		for n, a := range list {
			words, err := say(n, a)
			if err != nil {
				return err
			}
			all = append(all, words...)
		}
		return g.print(cmd, all)
	}
	g.out.register(cmd)
	fl := cmd.Flags()
	fl.StringVar(&g.network, "network", "", "only this network")
	fl.StringVar(&g.ifname, "ifname", "", "only this interface")
	return cmd
}

// find returns the attachments of a container, sorted by network and ifname.
func (g *guestArgs) find(ctx context.Context, container string) ([]shim.Attachment, error) {
	c, err := connect()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	all, err := c.Attachments(ctx)
	if err != nil {
		return nil, err
	}
	var list []shim.Attachment
	for _, a := range all {
		if a.ContainerID == container && (g.network == "" || a.Network == g.network) && (g.ifname == "" || a.IfName == g.ifname) {
			list = append(list, a)
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("container %s: has no such attachment; vmnet-shim ls lists all", container)
	}
	return list, nil
}

// print prints words for a shell that splits them, or as JSON.
func (g *guestArgs) print(cmd *cobra.Command, words []string) error {
	if g.out.format == "table" {
		for _, w := range words {
			if strings.ContainsAny(w, " \t\n*?[") {
				return fmt.Errorf("argument %q: a shell would split or expand it; use --output json", w)
			}
		}
		_, err := fmt.Fprintln(cmd.OutOrStdout(), strings.Join(words, " "))
		return err
	}
	return g.out.print(cmd.OutOrStdout(), words, nil)
}

// noComma refuses a path that the runtime's options cannot hold.
func noComma(runtime, path string) error {
	if strings.Contains(path, ",") {
		return fmt.Errorf("socket %s: %s takes no path with a comma; set VMNET_RUNTIME_DIR to one without", path, runtime)
	}
	return nil
}

// noSocket refuses an attachment that has no sockets, for a runtime that takes a path.
func noSocket(runtime string, a shim.Attachment) error {
	if a.DgramSocketPath != "" {
		return nil
	}
	return fmt.Errorf("attachment %s/%s/%s: frames tap: there is no socket for %s; want frames dgram or stream", a.Network, a.ContainerID, a.IfName, runtime)
}

// noOffload refuses an attachment whose frames a runtime cannot take; instead says
// what can.
func noOffload(runtime string, a shim.Attachment, instead string) error {
	if !a.Offload {
		return nil
	}
	return fmt.Errorf("attachment %s/%s/%s: offload true: %s would get frames of %d bytes that it cannot take; want offload false%s",
		a.Network, a.ContainerID, a.IfName, runtime, a.MaxFrameSize, instead)
}

// qemuTap returns QEMU's arguments for an attachment whose tap it has as descriptor
// fd. That the tap has a virtio-net header QEMU finds out; it takes no vnet_hdr=
// beside fd= (qemu(1)).
func qemuTap(id string, fd int) string { return fmt.Sprintf("tap,id=%s,fd=%d,vhost=off", id, fd) }

func newQEMUArgs() *cobra.Command {
	var g guestArgs
	var version string
	cmd := &cobra.Command{
		Use:   "qemu-args CONTAINER",
		Short: "Print QEMU's arguments for a container's attachments",
		Long: `Print the -netdev and -device arguments by which QEMU takes the attachments of
CONTAINER, over their stream sockets: QEMU connects again when the shim is started
anew. QEMU older than 9.2 spells that otherwise, and older than 8.0 cannot. Where frames
is tap, QEMU is to have the tap of the first attachment as descriptor 3, of the second as
4, and so on.`,
		Example: `  qemu-system-x86_64 … $(vmnet-shim qemu-args c1)`,
	}
	g.command(cmd, func(n int, a shim.Attachment) ([]string, error) {
		again, err := reconnectOption(version)
		if err != nil {
			return nil, err
		}
		id := "vmnet" + strconv.Itoa(n)
		netdev := qemuTap(id, 3+n)
		if a.Frames != shim.FramesTap {
			if err := noOffload("QEMU on a socket", a, ", or driver tap with frames tap"); err != nil {
				return nil, err
			}
			path := strings.ReplaceAll(a.StreamSocketPath, ",", ",,") // QEMU's way to write a comma
			netdev = fmt.Sprintf("stream,id=%s,server=off,addr.type=unix,addr.path=%s%s", id, path, again)
		}
		card := fmt.Sprintf("virtio-net-pci,netdev=%s,mac=%s", id, a.MAC)
		if a.MTU != 1500 {
			card += ",host_mtu=" + strconv.Itoa(a.MTU)
		}
		return []string{
			"-netdev", netdev,
			"-device", card,
		}, nil
	})
	cmd.Flags().StringVar(&version, "qemu-version", "", "QEMU's version, as 8.2 (default the newest)")
	return cmd
}

// reconnectOption returns the option by which QEMU of a version connects again.
func reconnectOption(version string) (string, error) {
	if version == "" {
		return ",reconnect-ms=500", nil
	}
	var major, minor int
	if _, err := fmt.Sscanf(version, "%d.%d", &major, &minor); err != nil {
		return "", fmt.Errorf("--qemu-version %q: want one as 8.2", version)
	}
	switch {
	case major < 7 || major == 7 && minor < 2:
		return "", fmt.Errorf("--qemu-version %s: want 7.2 or newer: older ones have no -netdev stream", version)
	case major < 8:
		return "", nil
	case major > 9 || major == 9 && minor >= 2:
		return ",reconnect-ms=500", nil
	}
	return ",reconnect=1", nil
}

func newVfkitArgs() *cobra.Command {
	var g guestArgs
	return g.command(&cobra.Command{
		Use:     "vfkit-args CONTAINER",
		Short:   "Print vfkit's arguments for a container's attachments",
		Long:    "Print the --device arguments by which vfkit takes the attachments of\nCONTAINER, over their datagram sockets.",
		Example: `  vfkit … $(vmnet-shim vfkit-args c1)`,
	}, func(_ int, a shim.Attachment) ([]string, error) {
		if err := errors.Join(noSocket("vfkit", a), noOffload("vfkit", a, "")); err != nil {
			return nil, err
		}
		return []string{"--device", "virtio-net,unixSocketPath=" + a.DgramSocketPath + ",mac=" + a.MAC}, noComma("vfkit", a.DgramSocketPath)
	})
}

func newKrunkitArgs() *cobra.Command {
	var g guestArgs
	return g.command(&cobra.Command{
		Use:     "krunkit-args CONTAINER",
		Short:   "Print krunkit's arguments for a container's attachments",
		Long:    "Print the --device arguments by which krunkit takes the attachments of\nCONTAINER, over their datagram sockets.",
		Example: `  krunkit … $(vmnet-shim krunkit-args c1)`,
	}, func(_ int, a shim.Attachment) ([]string, error) {
		offload := "off"
		if err := noSocket("krunkit", a); err != nil {
			return nil, err
		}
		if a.VnetHeader > 0 {
			return nil, fmt.Errorf("attachment %s/%s/%s: vnetHeader true: krunkit sends and takes no header before a frame; want vnetHeader false", a.Network, a.ContainerID, a.IfName)
		}
		if a.Offload {
			offload = "on"
		}
		return []string{
			"--device", fmt.Sprintf("virtio-net,type=unixgram,path=%s,mac=%s,offloading=%s", a.DgramSocketPath, a.MAC, offload),
		}, noComma("krunkit", a.DgramSocketPath)
	})
}

// segments are the features that a guest needs for offload, by their names in virtio
// 1.2, section 5.1.3, as nerdbox wants them.
const segments = "VIRTIO_NET_F_CSUM|VIRTIO_NET_F_GUEST_CSUM|VIRTIO_NET_F_GUEST_TSO4|VIRTIO_NET_F_GUEST_TSO6|VIRTIO_NET_F_HOST_TSO4|VIRTIO_NET_F_HOST_TSO6"

func newAnnotations() *cobra.Command {
	var g guestArgs
	var container bool
	cmd := &cobra.Command{
		Use:   "annotations CONTAINER",
		Short: "Print nerdbox's OCI annotations for a container's attachments",
		Long: `Print the annotations by which nerdbox gives its VM the attachments of CONTAINER, as
arguments of ctr. With --container the addresses are the container's own and not the
VM's.`,
		Example: `  ctr run --runtime io.containerd.nerdbox.v1 $(vmnet-shim annotations c1) IMAGE c1`,
	}
	g.command(cmd, func(n int, a shim.Attachment) ([]string, error) {
		if err := noSocket("nerdbox", a); err != nil {
			return nil, err
		}
		const prefix = "io.containerd.nerdbox."
		number := strconv.Itoa(n)
		vm := fmt.Sprintf("%snetwork.%s=socket=%s,mode=unixgram,mac=%s", prefix, number, a.DgramSocketPath, a.MAC)
		if a.Offload {
			vm += ",features=" + segments
		}
		if a.VnetHeader > 0 {
			vm += ",vnet_hdr=true"
		}
		var addrs, gateways string
		for _, ip := range a.IPs {
			addrs += ",addr=" + ip.Address.String()
			if ip.Gateway.IsValid() {
				gateways += ",gw=" + ip.Gateway.String()
			}
		}
		err := noComma("nerdbox", a.DgramSocketPath)
		if !container {
			return []string{"--annotation", vm + addrs}, err
		}
		words := []string{
			"--annotation", vm,
			"--annotation", fmt.Sprintf("%sctr.network.%s=vmmac=%s%s,ifname=%s%s", prefix, number, a.MAC, addrs, a.IfName, gateways),
		}
		if n == 0 && len(a.DNS.Nameservers) > 0 {
			words = append(words, "--annotation", prefix+"ctr.dns=nameserver="+strings.Join(a.DNS.Nameservers, ",nameserver="))
		}
		return words, err
	})
	cmd.Flags().BoolVar(&container, "container", false, "addresses for the container, not for the VM")
	return cmd
}
