package main

import (
	"fmt"
	"go/ast"
	"go/build"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"strings"
)

// upstream is the package whose names are given.
const upstream = "github.com/vishvananda/netlink"

// A view is the package as it is built for one system.
type view struct {
	pkg  *types.Package
	stub map[string]bool // functions and methods that only return ErrNotImplemented
}

// load type-checks the sources of the package for a system.
func load(goos string) (*view, error) {
	ctx := build.Default
	ctx.GOOS, ctx.GOARCH, ctx.CgoEnabled = goos, "amd64", false
	here, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	bp, err := ctx.Import(upstream, here, 0)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", upstream, err)
	}
	// The importer reads sources through build.Default.
	saved := build.Default
	build.Default = ctx
	defer func() { build.Default = saved }()
	fset := token.NewFileSet()
	v := &view{stub: map[string]bool{}}
	var files []*ast.File
	for _, name := range bp.GoFiles {
		f, err := parser.ParseFile(fset, filepath.Join(bp.Dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
		v.findStubs(f)
	}
	conf := types.Config{
		Importer: importer.ForCompiler(fset, "source", nil),
		Sizes:    types.SizesFor("gc", "amd64"),
	}
	v.pkg, err = conf.Check(upstream, fset, files, nil)
	return v, err
}

// findStubs notes the functions of f whose body is one return of
// ErrNotImplemented.
func (v *view) findStubs(f *ast.File) {
	for _, d := range f.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Body == nil || len(fn.Body.List) != 1 {
			continue
		}
		ret, ok := fn.Body.List[0].(*ast.ReturnStmt)
		if !ok || len(ret.Results) == 0 {
			continue
		}
		if id, ok := ret.Results[len(ret.Results)-1].(*ast.Ident); ok && id.Name == "ErrNotImplemented" {
			v.stub[funcName(fn)] = true
		}
	}
}

// funcName is "F" for a function, "T.M" for a method.
func funcName(fn *ast.FuncDecl) string {
	if fn.Recv == nil {
		return fn.Name.Name
	}
	t := fn.Recv.List[0].Type
	if star, ok := t.(*ast.StarExpr); ok {
		t = star.X
	}
	if id, ok := t.(*ast.Ident); ok {
		return id.Name + "." + fn.Name.Name
	}
	return fn.Name.Name
}

// names returns the exported names of the view that pick accepts, sorted.
func (v *view) names(pick func(types.Object) bool) []string {
	var out []string
	for _, name := range v.pkg.Scope().Names() {
		if o := v.pkg.Scope().Lookup(name); o.Exported() && pick(o) {
			out = append(out, name)
		}
	}
	return out
}

func (v *view) lookup(name string) types.Object { return v.pkg.Scope().Lookup(name) }

func isFunc(o types.Object) bool  { _, ok := o.(*types.Func); return ok }
func isConst(o types.Object) bool { _, ok := o.(*types.Const); return ok }
func isVar(o types.Object) bool   { _, ok := o.(*types.Var); return ok }
func isType(o types.Object) bool  { _, ok := o.(*types.TypeName); return ok }

// hollow reports whether a type is an empty struct: what upstream leaves of a
// type off Linux.
func hollow(o types.Object) bool {
	s, ok := o.Type().Underlying().(*types.Struct)
	return ok && s.NumFields() == 0
}

// generic tells what a type's name is without its package's.
func short(path string) string { return path[strings.LastIndex(path, "/")+1:] }
