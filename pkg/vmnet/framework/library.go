//go:build (darwin || linux) && (amd64 || arm64)

package framework

import (
	"fmt"
	"net/netip"
	"unsafe"

	"github.com/ebitengine/purego"
)

// openLibraries loads what paths names, by the Library field of the symbols, and
// resolves every symbol. An empty path means that the symbols are optional there.
func openLibraries(paths map[string]string) (*api, error) {
	handles := make(map[string]uintptr, len(paths))
	for name, path := range paths {
		h, err := purego.Dlopen(path, purego.RTLD_LAZY|purego.RTLD_LOCAL)
		if err != nil {
			return nil, fmt.Errorf("library %s: %w", path, err)
		}
		handles[name] = h
	}
	a := new(api)
	table := a.table()
	for i := range table {
		if err := table[i].resolve(handles[table[i].Library], paths[table[i].Library]); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// resolve looks one symbol up.
func (e *entry) resolve(handle uintptr, path string) error {
	addr, err := purego.Dlsym(handle, e.Name)
	if err != nil && e.Required {
		return fmt.Errorf("library %s: symbol %s is missing, which every macOS has: not the ABI of vmnet.framework", path, e.Name)
	}
	if e.key != nil {
		e.key.symbol = &e.Symbol
		if addr != 0 {
			e.key.addr = *(*uintptr)(cptr(addr)) // a variable: const char *
		}
		return nil
	}
	*e.addr = addr
	return nil
}

// have reports whether all addresses are there.
func have(addrs ...uintptr) bool {
	for _, a := range addrs {
		if a == 0 {
			return false
		}
	}
	return true
}

// supports returns an UnsupportedError that names the first of the keys that this
// macOS does not have.
func supports(feature string, keys ...key) error {
	for _, k := range keys {
		if k.addr == 0 {
			return &UnsupportedError{Feature: feature, Symbol: k.symbol.Name, Since: k.symbol.Since}
		}
	}
	return nil
}

// modern reports whether the logical networks of macOS 26 are there.
func (a *api) modern() bool {
	return have(a.cfgCreate, a.cfgNoDHCP, a.cfgSubnet, a.cfgMTU, a.netCreate, a.netSubnet, a.startWithNetwork, a.cfRelease)
}

// cptr makes a pointer of an address that C gave. C's memory is not the garbage
// collector's, so this is no misuse of unsafe.Pointer; vet cannot know.
func cptr(addr uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&addr)) }

// maxCString bounds what is copied of a C string: an address, a MAC, a name.
const maxCString = 4096

// goString copies a C string; NULL is "".
func goString(addr uintptr) string {
	if addr == 0 {
		return ""
	}
	n := 0
	for n < maxCString && *(*byte)(cptr(addr + uintptr(n))) != 0 {
		n++
	}
	return string(unsafe.Slice((*byte)(cptr(addr)), n))
}

// cString returns s with its terminating zero.
func cString(s string) *byte { return &append([]byte(s), 0)[0] }

// inAddr returns an IPv4 address as struct in_addr: in network order in memory.
func inAddr(a netip.Addr) *[4]byte {
	b := a.As4()
	return &b
}

// oneLibrary has every symbol looked up in the library at path.
func oneLibrary(path string) map[string]string {
	return map[string]string{inVmnet: path, inSystem: path, inCF: path}
}
