//go:build (darwin || linux) && (amd64 || arm64)

package framework

import (
	"net"
	"net/netip"
	"unsafe"

	"github.com/ebitengine/purego"
	"github.com/google/uuid"
)

// A dict is an XPC dictionary that is being filled. The setters copy what they
// are given. The first key that this macOS lacks is kept as the error of it all.
type dict struct {
	api *api
	obj uintptr
	err error
}

// newDict creates an empty dictionary; the caller releases it.
func (a *api) newDict() *dict {
	obj, _, _ := purego.SyscallN(a.dictCreate, 0, 0, 0)
	return &dict{api: a, obj: obj}
}

// release gives the dictionary back; using it afterwards would end the process.
func (d *dict) release() {
	if d.obj != 0 {
		purego.SyscallN(d.api.xpcRelease, d.obj)
		d.obj = 0
	}
}

// ready reports whether k can be set, and notes when it cannot.
func (d *dict) ready(feature string, k key) bool {
	if d.err == nil {
		d.err = supports(feature, k)
	}
	return d.err == nil
}

func (d *dict) setUint64(feature string, k key, v uint64) {
	if d.ready(feature, k) {
		purego.SyscallN(d.api.dictSetUint64, d.obj, k.addr, uintptr(v))
	}
}

func (d *dict) setBool(feature string, k key, v bool) {
	if d.ready(feature, k) {
		var word uintptr
		if v {
			word = 1
		}
		purego.SyscallN(d.api.dictSetBool, d.obj, k.addr, word)
	}
}

func (d *dict) setString(feature string, k key, v string) {
	if d.ready(feature, k) {
		purego.SyscallN(d.api.dictSetString, d.obj, k.addr, uintptr(unsafe.Pointer(cString(v))))
	}
}

// setUUID sets the 16 bytes; a string would not be recognised.
func (d *dict) setUUID(feature string, k key, v uuid.UUID) {
	if d.ready(feature, k) {
		purego.SyscallN(d.api.dictSetUUID, d.obj, k.addr, uintptr(unsafe.Pointer(&v)))
	}
}

// params is what the framework said of an interface it started. What it did not
// say is zero.
type params struct {
	mac              net.HardwareAddr
	id               uuid.UUID
	mtu, maxPacket   uint64
	readMax          uint64
	writeMax         uint64
	start, end, mask netip.Addr
	nat66            netip.Addr
}

// readParams copies what the borrowed dictionary obj holds; NULL holds nothing.
func (a *api) readParams(obj uintptr) params {
	if obj == 0 {
		return params{}
	}
	p := params{
		mtu:       a.getUint64(obj, a.keyMTU),
		maxPacket: a.getUint64(obj, a.keyMaxPacket),
		readMax:   a.getUint64(obj, a.keyReadMax),
		writeMax:  a.getUint64(obj, a.keyWriteMax),
		start:     a.getAddr(obj, a.keyStart),
		end:       a.getAddr(obj, a.keyEnd),
		mask:      a.getAddr(obj, a.keyMask),
		nat66:     a.getAddr(obj, a.keyNAT66),
		id:        a.getUUID(obj, a.keyID),
	}
	p.mac, _ = net.ParseMAC(a.getString(obj, a.keyMAC)) // none when it was not to be allocated
	return p
}

func (a *api) getUint64(obj uintptr, k key) uint64 {
	if k.addr == 0 {
		return 0
	}
	v, _, _ := purego.SyscallN(a.dictGetUint64, obj, k.addr)
	return uint64(v)
}

func (a *api) getString(obj uintptr, k key) string {
	if k.addr == 0 {
		return ""
	}
	s, _, _ := purego.SyscallN(a.dictGetString, obj, k.addr)
	return goString(s)
}

func (a *api) getAddr(obj uintptr, k key) netip.Addr {
	addr, _ := netip.ParseAddr(a.getString(obj, k)) // zero when it is not there
	return addr
}

func (a *api) getUUID(obj uintptr, k key) (id uuid.UUID) {
	if k.addr == 0 {
		return id
	}
	if p, _, _ := purego.SyscallN(a.dictGetUUID, obj, k.addr); p != 0 {
		id = *(*uuid.UUID)(cptr(p))
	}
	return id
}

// strings copies the strings of a borrowed array; other values are left out.
func (a *api) strings(array uintptr) []string {
	n, _, _ := purego.SyscallN(a.arrayCount, array)
	var list []string
	for i := range n {
		if s, _, _ := purego.SyscallN(a.arrayString, array, i); s != 0 {
			list = append(list, goString(s))
		}
	}
	return list
}
