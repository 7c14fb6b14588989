//go:build (darwin || linux) && (amd64 || arm64)

package framework

import (
	"context"
	"errors"
	"fmt"
	"unsafe"

	"github.com/ebitengine/purego"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

var _ vmnet.Serializer = (*network)(nil)

// serialized is the answer of vmnet_network_copy_serialization.
type serialized struct {
	data []byte
	code vmnet.Code
}

// Serialize implements vmnet.Serializer.
func (n *network) Serialize(ctx context.Context) ([]byte, error) {
	d := n.drv
	switch {
	case !d.api.modern() || !have(d.api.netSerialize, d.api.dictGetData):
		return nil, missingLogical("serializing a network")
	case n.kind != logical:
		return nil, fmt.Errorf("network %s: not a logical network: bridged, with a gateway or range of its own, or made by the older calls: %w", n.cfg.Name, errors.ErrUnsupported)
	}
	if err := n.begin(); err != nil {
		return nil, err
	}
	defer n.starts.Done()
	if err := d.guard.admit(ctx, callSerialize); err != nil {
		return nil, err
	}
	ref := n.use() // not in the goroutine, which may run when the network is closed
	s, err := run(ctx, &d.guard, callSerialize, d.cfg.StartTimeout, func() serialized { return n.serialize(ref) }, nil)
	if err != nil {
		return nil, err
	}
	if err := check(callSerialize, s.code); err != nil {
		return nil, err
	}
	if len(s.data) == 0 {
		return nil, &StatusError{Call: callSerialize, Code: vmnet.Failure, Hint: "no data under " + vmnet.SerializationKey}
	}
	return s.data, nil
}

// serialize calls the C function with ref, the network's reference, and gives that
// back.
func (n *network) serialize(ref uintptr) serialized {
	defer n.unref()
	a := n.drv.api
	status := new(uint32)
	obj, _, _ := purego.SyscallN(a.netSerialize, ref, uintptr(unsafe.Pointer(status)))
	if obj == 0 {
		return serialized{code: vmnet.Code(*status)}
	}
	defer purego.SyscallN(a.xpcRelease, obj)
	size := new(uintptr)
	data, _, _ := purego.SyscallN(a.dictGetData, obj, uintptr(unsafe.Pointer(cString(vmnet.SerializationKey))), uintptr(unsafe.Pointer(size)))
	if data == 0 {
		return serialized{code: vmnet.Code(*status)}
	}
	return serialized{append([]byte(nil), unsafe.Slice((*byte)(cptr(data)), *size)...), vmnet.Code(*status)}
}

// join opens a network that another process made.
func (n *network) join(ctx context.Context, data []byte) error {
	if len(data) == 0 {
		return invalid("serialization: it is empty")
	}
	a := n.drv.api
	return n.adopt(ctx, callJoin, func() created {
		d := a.newDict()
		defer d.release()
		purego.SyscallN(a.dictSetData, d.obj, uintptr(unsafe.Pointer(cString(vmnet.SerializationKey))),
			uintptr(unsafe.Pointer(unsafe.SliceData(data))), uintptr(len(data)))
		return n.made(callJoin, func(status *uint32) uintptr {
			r, _, _ := purego.SyscallN(a.netJoin, d.obj, uintptr(unsafe.Pointer(status)))
			return r
		})
	})
}
