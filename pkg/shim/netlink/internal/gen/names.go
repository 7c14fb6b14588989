package main

import (
	"fmt"
	"go/constant"
	"go/types"
	"maps"
	"slices"
	"strings"
)

// types writes the types: aliases on every system where upstream has them,
// aliases on Linux, and definitions of the same shape elsewhere.
func (g *generator) types() error {
	all, linux, rest := newFile("", upstream), newFile("linux", upstream), newFile("!linux")
	for _, name := range g.linux.names(isType) {
		f := linux
		if g.kept(name) {
			f = all
		} else if !special[name] {
			if n, ok := types.Unalias(g.linux.lookup(name).Type()).(*types.Named); ok {
				g.need(n, map[types.Type]bool{})
			}
		}
		f.line("// %s is [netlink.%s].", name, name)
		f.line("type %s = netlink.%s\n", name, name)
	}
	for name, fn := range g.state { // what functions and methods need
		if fn != absent {
			g.need(g.linux.lookup(name).Type(), map[types.Type]bool{})
		}
	}
	for _, m := range handleMethods(g.linux) {
		if !hidden(m.Type()) {
			g.need(m.Type(), map[types.Type]bool{})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(g.own)) {
		g.define(linux, rest, name)
	}
	if err := g.put("gen_types.go", all); err != nil {
		return err
	}
	if err := g.put("gen_types_linux.go", linux); err != nil {
		return err
	}
	return g.put("gen_types_other.go", rest)
}

// define writes one type off Linux, with its methods, and on Linux the alias of
// one that comes from another package than upstream.
func (g *generator) define(linux, rest *file, name string) {
	t := g.own[name]
	from := "netlink." + name
	if path := g.extern[name]; path != "" && g.linux.lookup(name) == nil {
		from = short(path) + "." + name
		linux.imports[path] = true
		linux.line("// %s is [%s].", name, from)
		linux.line("type %s = %s\n", name, from)
	}
	rest.line("// %s has the shape of %s on Linux.", name, from)
	rest.line("type %s %s\n", name, g.shape(rest, t.Underlying()))
	if g.extern[name] != "" {
		return
	}
	for i := range t.NumMethods() {
		if m := t.Method(i); m.Exported() && !hidden(m.Type()) {
			g.method(rest, t, m)
		}
	}
}

// shape prints a type without its unexported fields.
func (g *generator) shape(f *file, t types.Type) string {
	s, ok := t.(*types.Struct)
	if !ok {
		return g.text(f, t, true)
	}
	var b strings.Builder
	b.WriteString("struct {\n")
	for i := range s.NumFields() {
		field := s.Field(i)
		if !field.Exported() {
			continue
		}
		if !field.Embedded() {
			b.WriteString(field.Name() + " ")
		}
		b.WriteString(g.text(f, field.Type(), true) + "\n")
	}
	return b.String() + "}"
}

// method writes a method of a type that is defined off Linux.
func (g *generator) method(f *file, t *types.Named, m *types.Func) {
	name, sig := t.Obj().Name(), m.Type().(*types.Signature)
	star := ""
	if _, ok := sig.Recv().Type().(*types.Pointer); ok {
		star = "*"
	}
	f.line("// %s answers as a type without its kernel: see the package documentation.", m.Name())
	f.line("func (x %s%s) %s%s {", star, name, m.Name(), g.signature(f, sig, true))
	f.line("%s}\n", g.answer(f, t, m))
}

// answer is the body of a method off Linux.
func (g *generator) answer(f *file, t *types.Named, m *types.Func) string {
	name, sig := t.Obj().Name(), m.Type().(*types.Signature)
	if sig.Results().Len() == 0 {
		return ""
	}
	if m.Name() == "Type" && sig.Results().At(0).Type().String() == "string" {
		return fmt.Sprintf("return %q\n", strings.ToLower(name))
	}
	if p, ok := sig.Results().At(0).Type().(*types.Pointer); ok && m.Name() == "Attrs" {
		return "return &x." + p.Elem().(*types.Named).Obj().Name() + "\n"
	}
	if b, ok := t.Underlying().(*types.Basic); ok && m.Name() == "String" && b.Info()&types.IsUnsigned != 0 {
		f.imports["strconv"] = true
		return "return strconv.FormatUint(uint64(x), 10)\n"
	}
	if m.Name() == "String" {
		return fmt.Sprintf("return %q\n", name)
	}
	return g.refuse(f, sig, name+"."+m.Name())
}

// consts writes the constants, with the values they have on Linux where upstream
// lacks them elsewhere.
func (g *generator) consts() error {
	all, linux, rest := newFile("", upstream), newFile("linux", upstream), newFile("!linux")
	for _, name := range g.linux.names(isConst) {
		f := linux
		if g.other.lookup(name) != nil && !special[name] {
			f = all
		} else if !special[name] {
			c := g.linux.lookup(name).(*types.Const)
			rest.line("// %s has the value of Linux.", name)
			rest.line("const %s %s= %s\n", name, g.constType(rest, c.Type()), literal(c.Val()))
		}
		f.line("// %s is [netlink.%s].", name, name)
		f.line("const %s = netlink.%s\n", name, name)
	}
	if err := g.put("gen_consts.go", all); err != nil {
		return err
	}
	if err := g.put("gen_consts_linux.go", linux); err != nil {
		return err
	}
	return g.put("gen_consts_other.go", rest)
}

func (g *generator) constType(f *file, t types.Type) string {
	if b, ok := t.(*types.Basic); ok && b.Info()&types.IsUntyped != 0 {
		return ""
	}
	return g.text(f, t, true) + " "
}

func literal(v constant.Value) string {
	if v.Kind() == constant.String {
		return v.ExactString()
	}
	return v.String()
}

// vars writes the variables.
func (g *generator) vars() error {
	all, linux := newFile("", upstream), newFile("linux", upstream)
	for _, name := range g.linux.names(isVar) {
		f := linux
		if !special[name] {
			if g.other.lookup(name) == nil {
				return fmt.Errorf("variable %s is not there off Linux: write it by hand and name it in special", name)
			}
			f = all
		}
		f.line("// %s is [netlink.%s].", name, name)
		f.line("var %s = netlink.%s\n", name, name)
	}
	if err := g.put("gen_vars.go", all); err != nil {
		return err
	}
	return g.put("gen_vars_linux.go", linux)
}
