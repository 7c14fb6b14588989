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

const (
	upstream = "github.com/vishvananda/netlink"              // whose names are given
	ours     = "github.com/vmnet-cni/vmnet/pkg/shim/netlink" // that has them
)

// An object is a name of a package.
type object = types.Object

// A view is the package as it is built for one system.
type view struct {
	fset *token.FileSet
	pkg  *types.Package
	stub map[string]bool // functions and methods that only return ErrNotImplemented
}

// load type-checks the sources of a package for a system.
func load(path, goos string) (*view, error) {
	ctx := build.Default
	ctx.GOOS, ctx.GOARCH, ctx.CgoEnabled = goos, "amd64", false
	here, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	bp, err := ctx.Import(path, here, 0)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", path, err)
	}
	// The importer reads sources through build.Default.
	saved := build.Default
	build.Default = ctx
	defer func() { build.Default = saved }()
	fset := token.NewFileSet()
	v := &view{fset: fset, stub: map[string]bool{}}
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
	v.pkg, err = conf.Check(path, fset, files, nil)
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

// file returns the name of the file that declares o.
func (v *view) file(o object) string { return filepath.Base(v.fset.Position(o.Pos()).Filename) }

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

// short returns the name of a package by its path.
func short(path string) string { return path[strings.LastIndex(path, "/")+1:] }
