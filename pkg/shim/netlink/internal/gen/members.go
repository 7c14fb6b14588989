package main

import (
	"go/types"
	"maps"
	"slices"
	"strings"
)

// unwritten are methods of types written by hand that are on Linux alone: they make
// messages of the kernel.
var unwritten = []string{"LinkUpdate.Len", "LinkUpdate.Serialize"}

// lacking lists the methods, "T.M", that types have on Linux alone: upstream has the
// type elsewhere without them, and nobody can add methods to an alias; the type is one
// of messages of the kernel; or nobody can write the method's parameters.
func (g *generator) lacking() []string {
	list := slices.Clone(unwritten)
	for _, name := range g.linux.names(isType) {
		t := g.linux.lookup(name).Type()
		there := map[string]string{}
		if g.kept(name) {
			there = methods(g.other.lookup(name).Type())
		}
		for m, sig := range methods(t) {
			switch {
			case g.kept(name) && there[m] == "", named(t) != nil && lowLevel(named(t).Obj().Pkg().Path()), strings.Contains(sig, "#"):
				list = append(list, name+"."+m)
			}
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

func named(t types.Type) *types.Named {
	n, _ := types.Unalias(t).(*types.Named)
	return n
}

// methods returns the exported methods of a type and of pointers to it, and how each
// is written: with no names of packages and parameters, and "#" for a type that nobody
// else can write.
func methods(t types.Type) map[string]string {
	list := map[string]string{}
	set := types.NewMethodSet(types.NewPointer(t))
	if types.IsInterface(t) {
		set = types.NewMethodSet(t)
	}
	for i := range set.Len() {
		if m := set.At(i).Obj(); m.Exported() {
			list[m.Name()] = written(m.Type())
		}
	}
	return list
}

// fields returns the exported fields of a struct, and how their types are written.
func fields(t types.Type) map[string]string {
	list := map[string]string{}
	if s, ok := t.Underlying().(*types.Struct); ok {
		for i := range s.NumFields() {
			if f := s.Field(i); f.Exported() {
				list[f.Name()] = written(f.Type())
			}
		}
	}
	return list
}

// written is a type as methods has it.
func written(t types.Type) string {
	if sig, ok := t.(*types.Signature); ok {
		text := ""
		for _, tuple := range []*types.Tuple{sig.Params(), sig.Results()} {
			for i := range tuple.Len() {
				text += " " + written(tuple.At(i).Type())
			}
			text += ";"
		}
		if sig.Variadic() {
			text += "..."
		}
		return text
	}
	if n := named(t); n != nil && n.Obj().Pkg() != nil && !n.Obj().Exported() {
		return "#" + n.Obj().Name()
	}
	return types.TypeString(t, func(p *types.Package) string {
		if p.Path() == upstream || p.Path() == ours || lowLevel(p.Path()) {
			return ""
		}
		return p.Name()
	})
}

// sorted returns the keys of a map in order.
func sorted(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
