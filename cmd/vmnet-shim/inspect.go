package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sort"
	"strings"

	"github.com/spf13/cobra"
)

func newInspect() *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use:   "inspect [NETWORK [CONTAINER IFNAME]]",
		Short: "Show everything about the shim, a network or an attachment",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 2 || len(args) > 3 {
				return errors.New("inspect: want nothing, a network, or a network, a container ID and an ifname")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := ask(cmd, &out, func() (any, error) { return inspect(cmd.Context(), args) })
			if err != nil {
				return err
			}
			return out.print(cmd.OutOrStdout(), v, func(t *table) {
				for _, line := range flatten("", v) {
					t.row(line[0], line[1])
				}
			})
		},
	}
	out.register(cmd)
	return cmd
}

func inspect(ctx context.Context, args []string) (any, error) {
	c, err := connect()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	switch len(args) {
	case 0:
		return c.Status(ctx)
	case 1:
		return c.Network(ctx, args[0])
	}
	return c.Attachment(ctx, args[0], args[1], args[2])
}

// flatten returns the leaves of v's JSON as "a.b" and value, sorted.
func flatten(prefix string, v any) [][2]string {
	data, err := json.Marshal(v)
	if err != nil {
		return [][2]string{{prefix, err.Error()}}
	}
	var tree any
	dec := json.NewDecoder(strings.NewReader(string(data)))
	dec.UseNumber()
	if err := dec.Decode(&tree); err != nil {
		return [][2]string{{prefix, err.Error()}}
	}
	lines := leaves(prefix, tree)
	sort.SliceStable(lines, func(i, j int) bool { return lines[i][0] < lines[j][0] })
	return lines
}

func leaves(prefix string, tree any) [][2]string {
	var lines [][2]string
	switch t := tree.(type) {
	case map[string]any:
		for k, v := range t {
			lines = append(lines, leaves(strings.TrimPrefix(prefix+"."+k, "."), v)...)
		}
		return lines
	case []any:
		for i, v := range t {
			lines = append(lines, leaves(fmt.Sprintf("%s[%d]", prefix, i), v)...)
		}
		return lines
	}
	return [][2]string{{prefix, fmt.Sprint(tree)}}
}
