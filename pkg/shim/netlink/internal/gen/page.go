package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"go/types"
)

//go:embed page.md
var head []byte

// page writes docs/netlink.md: page.md, then the list.
func (g *generator) page() error {
	var b bytes.Buffer
	b.Write(head)
	count := map[status]int{}
	for _, s := range g.state {
		count[s]++
	}
	fmt.Fprintf(&b, "%d functions of upstream on Linux: %d forward on every system, %d work on macOS, %d compute everywhere, %d say that they are not implemented off Linux, %d on Linux alone.\n\n",
		len(g.state), count[portable], count[onDarwin], count[pure], count[missing], count[absent])
	b.WriteString("| function | Linux | macOS | note |\n|---|---|---|---|\n")
	for _, name := range g.linux.names(isFunc) {
		on := map[status]string{portable: "forwards", onDarwin: "works", pure: "computes", missing: "not there", absent: "absent"}[g.state[name]]
		note := works[name]
		if note == "" && g.state[name] == missing {
			note = "`ErrNotImplemented`"
		}
		fmt.Fprintf(&b, "| `%s` | forwards | %s | %s |\n", name, on, note)
	}
	b.WriteString("\n## Methods of Handle\n\nOn Linux `Handle` is upstream's. Elsewhere a method does what the function of its\nname does, as listed above. These have no such function and are not there:\n\n")
	for _, m := range handleMethods(g.linux) {
		o := g.linux.lookup(m.Name())
		if (o == nil || !isFunc(o)) && m.Name() != "Close" && m.Name() != "Delete" {
			fmt.Fprintf(&b, "- `%s`\n", m.Name())
		}
	}
	b.WriteString("\n## Types\n\nAliases of upstream's on every system, but for these, which upstream has on Linux\nalone or leaves empty elsewhere. Off Linux they have the same exported fields:\n\n")
	for _, name := range g.linux.names(isType) {
		if !g.kept(name) {
			fmt.Fprintf(&b, "- `%s`%s\n", name, aliasNote(g, name))
		}
	}
	b.WriteString("\n## Methods on Linux alone\n\n")
	for _, m := range g.lacking() {
		fmt.Fprintf(&b, "- `%s`\n", m)
	}
	g.files[page] = b.Bytes()
	return nil
}

func aliasNote(g *generator, name string) string {
	if o := g.other.lookup(name); o != nil {
		if _, ok := o.Type().Underlying().(*types.Struct); ok {
			return " (empty upstream)"
		}
	}
	return ""
}
