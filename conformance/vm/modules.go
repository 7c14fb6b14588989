package vm

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// wanted are the modules that a guest needs, without those they depend on. One
// that the kernel has built in is passed over.
var wanted = []string{"virtio_pci", "virtio_net"}

// A module is a kernel module, ready to be loaded.
type module struct {
	name string
	data []byte
}

// loadOrder returns the wanted modules and all that they depend on, so that each
// comes after what it needs. A package that was only unpacked has no modules.dep,
// so the dependencies are read from the modules themselves.
func loadOrder(k Kernel) ([]module, error) {
	paths, err := modulePaths(filepath.Join(k.Modules, "kernel"))
	if err != nil {
		return nil, fmt.Errorf("modules of kernel %s: %w", k.Release(), err)
	}
	var order []module
	done := map[string]bool{}
	var load func(name string) error
	load = func(name string) error {
		path, there := paths[name]
		if done[name] || !there { // built in
			return nil
		}
		done[name] = true
		data, err := readModule(path)
		if err != nil {
			return err
		}
		deps, err := moduleDeps(data)
		if err != nil {
			return fmt.Errorf("module %s: %w", path, err)
		}
		for _, dep := range deps {
			if err := load(dep); err != nil {
				return err
			}
		}
		order = append(order, module{name, data})
		return nil
	}
	for _, name := range wanted {
		if err := load(name); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// modulePaths returns the path of every module below dir, by name.
func modulePaths(dir string) (map[string]string, error) {
	paths := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name, _, ok := strings.Cut(d.Name(), ".ko"); ok && !d.IsDir() {
			// File names have - or _, dependencies always have _ (modprobe(8)).
			paths[strings.ReplaceAll(name, "-", "_")] = path
		}
		return nil
	})
	return paths, err
}

// readModule reads a module; a compressed one by the program for it.
func readModule(path string) ([]byte, error) {
	switch filepath.Ext(path) {
	case ".xz":
		return exec.Command("xz", "-dc", path).Output()
	case ".zst":
		return exec.Command("zstd", "-dc", path).Output()
	}
	return os.ReadFile(path)
}

// moduleDeps returns the names in the "depends" entry of a module's .modinfo.
func moduleDeps(data []byte) ([]string, error) {
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	section := f.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("no section .modinfo")
	}
	info, err := section.Data()
	if err != nil {
		return nil, err
	}
	for entry := range strings.SplitSeq(string(info), "\x00") {
		if list, ok := strings.CutPrefix(entry, "depends="); ok && list != "" {
			return strings.Split(strings.ReplaceAll(list, "-", "_"), ","), nil
		}
	}
	return nil, nil
}

// isStatic reports whether a program needs no dynamic linker.
func isStatic(path string) (bool, error) {
	f, err := elf.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return false, nil
		}
	}
	return true, nil
}
