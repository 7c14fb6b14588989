package main

import (
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// connect returns a client of the running shim.
func connect() (*shim.Client, error) {
	dirs, err := shim.FindDirs()
	if err != nil {
		return nil, err
	}
	return shim.NewClient(dirs.ShimSocket()), nil
}

func newList() *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List attachments",
		Long:    "List the attachments that belong to you, or all for root.",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := connect()
			if err != nil {
				return err
			}
			defer c.Close()
			atts, err := ask(cmd, &out, func() ([]shim.Attachment, error) { return c.Attachments(cmd.Context()) })
			if err != nil {
				return err
			}
			return out.print(cmd.OutOrStdout(), atts, func(t *table) {
				t.row("NETWORK", "CONTAINER", "IFNAME", "DRIVER", "MODE", "MAC", "ADDRESS", "GUEST")
				for _, a := range atts {
					t.row(a.Network, a.ContainerID, a.IfName, a.Driver, a.Mode.String(), a.MAC, addresses(a), guest(a))
				}
			})
		},
	}
	out.register(cmd)
	return cmd
}

func addresses(a shim.Attachment) string {
	var s []string
	for _, ip := range a.IPs {
		s = append(s, ip.Address.String())
	}
	return strings.Join(s, ",")
}

// guest tells in a few words whether somebody is connected.
func guest(a shim.Attachment) string {
	switch {
	case a.Problem != "":
		return "broken"
	case a.Peer.Connected:
		return a.Peer.Via
	case !a.Peer.GoneSince.IsZero():
		return "gone since " + a.Peer.GoneSince.Local().Format(time.DateTime)
	}
	return ""
}
