package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"sort"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/vmnet-cni/vmnet/pkg/shim"
)

func newEvents() *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Print what happens: attachments, guests, drops, restarts",
		Long: `Print what happens as it happens, a line for each event, until SIGINT or SIGTERM or
the shim's end.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := connect()
			if err != nil {
				return err
			}
			defer c.Close()
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			in, err := c.Events(ctx)
			if err != nil {
				return err
			}
			defer in.Close()
			err = printEvents(cmd.OutOrStdout(), in, out.format == "json")
			if ctx.Err() != nil || errors.Is(err, syscall.EPIPE) {
				return nil
			}
			return err
		},
	}
	out.register(cmd)
	return cmd
}

// printEvents prints a stream of events, as it is or for people.
func printEvents(w io.Writer, in io.Reader, asJSON bool) error {
	if asJSON {
		_, err := io.Copy(w, in)
		return err
	}
	for d := json.NewDecoder(in); ; {
		var e shim.Event
		switch err := d.Decode(&e); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if _, err := fmt.Fprintln(w, eventText(e)); err != nil {
			return err
		}
	}
}

// eventText is an event on a line.
func eventText(e shim.Event) string {
	words := []string{e.Time.Format("2006-01-02T15:04:05.000Z07:00"), e.Type}
	subject := strings.Trim(strings.Join([]string{e.Network, e.ContainerID, e.IfName}, "/"), "/")
	if subject != "" {
		words = append(words, subject)
	}
	var details []string
	for k, v := range e.Detail {
		details = append(details, fmt.Sprintf("%s=%s", k, v))
	}
	sort.Strings(details)
	return strings.Join(append(words, details...), " ")
}
