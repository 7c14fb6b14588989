package vmnet_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"testing"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// codes are all named codes with their numbers in <vmnet/vmnet.h>.
var codes = map[vmnet.Code]uint32{
	vmnet.Failure: 1001, vmnet.MemFailure: 1002, vmnet.InvalidArgument: 1003, vmnet.SetupIncomplete: 1004,
	vmnet.InvalidAccess: 1005, vmnet.PacketTooBig: 1006, vmnet.BufferExhausted: 1007, vmnet.TooManyPackets: 1008,
	vmnet.ServiceBusy: 1009, vmnet.NotAuthorized: 1010,
}

func TestCodes(t *testing.T) {
	for c, number := range codes {
		if uint32(c) != number || !c.Known() {
			t.Errorf("%v: number %d, known %v, want %d, true", c, uint32(c), c.Known(), number)
		}
		if !strings.Contains(c.Error(), fmt.Sprint(number)) {
			t.Errorf("%q does not tell the number %d", c, number)
		}
		wrapped := fmt.Errorf("wrapped: %w", &vmnet.OpError{Op: "write", Net: "n", Err: c})
		for other := range codes {
			if errors.Is(wrapped, other) != (c == other) {
				t.Errorf("errors.Is(%v, %v) = %v", c, other, c != other)
			}
		}
		denied := c == vmnet.InvalidAccess || c == vmnet.NotAuthorized
		if errors.Is(wrapped, fs.ErrPermission) != denied {
			t.Errorf("%v matches fs.ErrPermission: %v", c, !denied)
		}
		var as vmnet.Code
		if !errors.As(wrapped, &as) || as != c {
			t.Errorf("errors.As finds %v in %v", as, wrapped)
		}
	}
	for _, unknown := range []vmnet.Code{0, 1, 1011, 4711, 1<<32 - 1} {
		if unknown.Known() || !strings.Contains(unknown.Error(), fmt.Sprintf("unknown status %d", uint32(unknown))) {
			t.Errorf("%d: known %v, %q", uint32(unknown), unknown.Known(), unknown)
		}
		if !errors.Is(fmt.Errorf("x: %w", unknown), unknown) || errors.Is(unknown, vmnet.Failure) {
			t.Errorf("%v does not match itself alone", unknown)
		}
	}
}

func TestSentinels(t *testing.T) {
	all := []error{vmnet.ErrNoPackets, vmnet.ErrPermission, vmnet.ErrClosed, vmnet.ErrHandlerSet}
	for x, a := range all {
		for y, b := range all {
			if errors.Is(&vmnet.OpError{Op: "read", Err: a}, b) != (x == y) {
				t.Errorf("errors.Is(%v, %v) = %v", a, b, x != y)
			}
		}
	}
	if !errors.Is(vmnet.ErrClosed, net.ErrClosed) {
		t.Errorf("ErrClosed does not match net.ErrClosed")
	}
	if !errors.Is(vmnet.ErrPermission, fs.ErrPermission) {
		t.Errorf("ErrPermission does not match fs.ErrPermission")
	}
}

func TestOpError(t *testing.T) {
	for want, e := range map[string]*vmnet.OpError{
		"vmnet: write shared: packet is too big (1006)": {Op: "write", Net: "shared", Err: vmnet.PacketTooBig},
		"vmnet: open: unknown status 4711":              {Op: "open", Err: vmnet.Code(4711)},
	} {
		if e.Error() != want {
			t.Errorf("%q, want %q", e, want)
		}
		if !errors.Is(e, e.Err) {
			t.Errorf("%v does not unwrap to its cause", e)
		}
	}
}
