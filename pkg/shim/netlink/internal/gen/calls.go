package main

import (
	"fmt"
	"go/types"
	"strings"
)

// funcs writes the functions.
func (g *generator) funcs() error {
	all, linux := newFile("", upstream), newFile("linux", upstream)
	rest, neither := newFile("!linux"), newFile("!linux && !darwin")
	for _, name := range g.linux.names(isFunc) {
		sig := g.linux.lookup(name).Type().(*types.Signature)
		switch g.state[name] {
		case portable:
			g.forward(all, name, sig)
			continue
		case missing:
			g.lack(rest, name, sig)
		case onDarwin:
			g.lack(neither, name, sig)
		}
		if !byHand[name] {
			g.forward(linux, name, sig)
		}
	}
	if err := g.pairs(); err != nil {
		return err
	}
	for name, f := range map[string]*file{
		"gen_funcs.go": all, "gen_funcs_linux.go": linux, "gen_funcs_other.go": rest, "gen_darwin_other.go": neither,
	} {
		if err := g.put(name, f); err != nil {
			return err
		}
	}
	return nil
}

// pairs writes the list of functions for the test that runs ours beside
// upstream's.
func (g *generator) pairs() error {
	f := newFile("linux", upstream)
	f.line("// pairs are the functions of this package and of upstream.")
	f.line("var pairs = []struct {")
	f.line("name string")
	f.line("ours, theirs any")
	f.line("}{")
	for _, name := range g.linux.names(isFunc) {
		f.line("{%q, %s, netlink.%s},", name, name, name)
	}
	f.line("}")
	return g.put("gen_pairs_linux_test.go", f)
}

func (g *generator) forward(f *file, name string, sig *types.Signature) {
	f.line("// %s is [netlink.%s].", name, name)
	f.line("func %s%s {", name, g.signature(f, sig, false))
	f.line("%snetlink.%s(%s)\n}\n", returns(sig), name, arguments(sig))
}

func (g *generator) lack(f *file, name string, sig *types.Signature) {
	f.line("// %s is on Linux alone: the error wraps [ErrNotImplemented].", name)
	f.line("func %s%s {", name, g.signature(f, sig, true))
	f.line("%s}\n", g.refuse(f, sig, name))
}

// refuse is a body that returns zero values and, where there is an error, that
// name is not implemented.
func (g *generator) refuse(f *file, sig *types.Signature, name string) string {
	var out []string
	for i := range sig.Results().Len() {
		t := sig.Results().At(i).Type()
		switch u := t.Underlying().(type) {
		case *types.Basic:
			switch {
			case u.Info()&types.IsString != 0:
				out = append(out, `""`)
			case u.Info()&types.IsBoolean != 0:
				out = append(out, "false")
			default:
				out = append(out, "0")
			}
		case *types.Struct, *types.Array:
			out = append(out, g.text(f, t, true)+"{}")
		default:
			out = append(out, "nil")
		}
	}
	if returnsError(sig) {
		out[len(out)-1] = fmt.Sprintf("notImplemented(%q)", name)
	}
	if len(out) == 0 {
		return ""
	}
	return "return " + strings.Join(out, ", ") + "\n"
}

func returns(sig *types.Signature) string {
	if sig.Results().Len() > 0 {
		return "return "
	}
	return ""
}

// param is the name of a parameter, as it can be used in a body.
func param(sig *types.Signature, i int) string {
	if n := sig.Params().At(i).Name(); n != "" && n != "_" && n != "netlink" && n != "x" && n != "h" {
		return n
	}
	return fmt.Sprintf("p%d", i)
}

func (g *generator) signature(f *file, sig *types.Signature, offLinux bool) string {
	var in, out []string
	for i := range sig.Params().Len() {
		t := g.text(f, sig.Params().At(i).Type(), offLinux)
		if sig.Variadic() && i == sig.Params().Len()-1 {
			t = "..." + strings.TrimPrefix(t, "[]")
		}
		in = append(in, param(sig, i)+" "+t)
	}
	for i := range sig.Results().Len() {
		out = append(out, g.text(f, sig.Results().At(i).Type(), offLinux))
	}
	text := "(" + strings.Join(in, ", ") + ") "
	if len(out) > 1 {
		return text + "(" + strings.Join(out, ", ") + ")"
	}
	return text + strings.Join(out, "")
}

func arguments(sig *types.Signature) string {
	var in []string
	for i := range sig.Params().Len() {
		name := param(sig, i)
		if sig.Variadic() && i == sig.Params().Len()-1 {
			name += "..."
		}
		in = append(in, name)
	}
	return strings.Join(in, ", ")
}

// handleMethods returns the exported methods of *Handle.
func handleMethods(v *view) []*types.Func {
	var out []*types.Func
	set := types.NewMethodSet(types.NewPointer(v.lookup("Handle").Type()))
	for i := range set.Len() {
		if m, ok := set.At(i).Obj().(*types.Func); ok && m.Exported() {
			out = append(out, m)
		}
	}
	return out
}

// hidden reports whether a signature names an unexported type, so that nobody
// else can write it.
func hidden(t types.Type) bool {
	found := false
	types.TypeString(t, func(p *types.Package) string { return p.Name() })
	sig := t.(*types.Signature)
	for _, tuple := range []*types.Tuple{sig.Params(), sig.Results()} {
		for i := range tuple.Len() {
			if n, ok := tuple.At(i).Type().(*types.Named); ok && n.Obj().Pkg() != nil && !n.Obj().Exported() {
				found = true
			}
		}
	}
	return found
}

// methods writes the methods of Handle off Linux: each does what the function of
// its name does.
func (g *generator) methods() error {
	f := newFile("!linux")
	for _, m := range handleMethods(g.linux) {
		sig := m.Type().(*types.Signature)
		if hidden(sig) || m.Name() == "Close" || m.Name() == "Delete" {
			continue
		}
		fn := g.linux.lookup(m.Name())
		same := fn != nil && isFunc(fn) && g.state[m.Name()] != absent &&
			types.Identical(types.NewSignatureType(nil, nil, nil, sig.Params(), sig.Results(), sig.Variadic()), fn.Type())
		if same {
			f.line("// %s is [%s].", m.Name(), m.Name())
			f.line("func (h *Handle) %s%s {", m.Name(), g.signature(f, sig, true))
			f.line("%s%s(%s)\n}\n", returns(sig), m.Name(), arguments(sig))
			continue
		}
		f.line("// %s is on Linux alone.", m.Name())
		f.line("func (h *Handle) %s%s {", m.Name(), g.signature(f, sig, true))
		f.line("%s}\n", g.refuse(f, sig, "Handle."+m.Name()))
	}
	return g.put("gen_handle_other.go", f)
}
