package vmnet

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
)

// A Code is a status of the interface, and an error. Its numbers are those of
// vmnet_return_t in <vmnet/vmnet.h>; drivers that are not the framework use the
// same codes for the same conditions. Compare with errors.Is:
//
//	if errors.Is(err, vmnet.PacketTooBig) { … }
type Code uint32

// The codes of the framework.
const (
	success Code = 1000 // VMNET_SUCCESS; never an error, so not exported

	Failure         Code = 1001 // general failure
	MemFailure      Code = 1002 // memory could not be allocated
	InvalidArgument Code = 1003 // an argument is not valid
	SetupIncomplete Code = 1004 // the interface is not set up completely
	InvalidAccess   Code = 1005 // access denied
	PacketTooBig    Code = 1006 // a frame is longer than MaxPacketSize
	BufferExhausted Code = 1007 // buffers are exhausted; nothing was sent, try later
	TooManyPackets  Code = 1008 // a batch is longer than the limit
	ServiceBusy     Code = 1009 // a conflicting sharing service is in use
	NotAuthorized   Code = 1010 // an authorization is missing
)

var codeText = map[Code]string{
	success:         "success",
	Failure:         "general failure",
	MemFailure:      "memory could not be allocated",
	InvalidArgument: "invalid argument",
	SetupIncomplete: "interface setup is not complete",
	InvalidAccess:   "access denied",
	PacketTooBig:    "packet is too big",
	BufferExhausted: "buffers exhausted",
	TooManyPackets:  "too many packets in one batch",
	ServiceBusy:     "a conflicting sharing service is in use",
	NotAuthorized:   "not authorized",
}

// Known reports whether c is one of the codes named in this package. Any other
// number is kept as it came, as the OCaml library's Unknown does.
func (c Code) Known() bool { _, ok := codeText[c]; return ok }

// Error returns the meaning of the code and its number.
func (c Code) Error() string {
	if s, ok := codeText[c]; ok {
		return fmt.Sprintf("%s (%d)", s, uint32(c))
	}
	return fmt.Sprintf("unknown status %d", uint32(c))
}

// Is makes InvalidAccess and NotAuthorized match fs.ErrPermission.
func (c Code) Is(target error) bool {
	return target == fs.ErrPermission && (c == InvalidAccess || c == NotAuthorized)
}

// Conditions that callers branch on. All are wrapped in an OpError when an
// Interface returns them; compare with errors.Is.
var (
	// ErrNoRouter says that the host's end of a network was not found.
	ErrNoRouter = errors.New("no interface of the host has the network's addresses")
	// ErrNoPackets says that no frame is waiting to be read.
	ErrNoPackets = errors.New("no packets waiting")
	// ErrPermission says that the interface was refused for want of root, of a
	// signature or of an authorization. It matches fs.ErrPermission.
	ErrPermission = fmt.Errorf("missing privilege: %w", fs.ErrPermission)
	// ErrLimit says that the driver has as many interfaces as there may be.
	ErrLimit = errors.New("limit reached")
	// ErrClosed says that the interface or network was closed. It matches
	// net.ErrClosed.
	ErrClosed = fmt.Errorf("vmnet: %w", net.ErrClosed)
	// ErrHandlerSet says that WaitForEvent was called on an interface whose
	// events go to a handler that SetEventHandler set.
	ErrHandlerSet = errors.New("an event handler is set")
)

// An OpError says which operation on which object failed, and why.
type OpError struct {
	Op  string // "open", "start", "read", "write", "wait", "close", …
	Net string // the network's name, or ""
	Err error  // a Code, one of the variables above, or the cause from the OS
}

// Error implements error.
func (e *OpError) Error() string {
	if e.Net == "" {
		return "vmnet: " + e.Op + ": " + e.Err.Error()
	}
	return "vmnet: " + e.Op + " " + e.Net + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *OpError) Unwrap() error { return e.Err }

// opError wraps err once; nil stays nil.
func opError(op, network string, err error) error {
	if err == nil {
		return nil
	}
	var oe *OpError
	if errors.As(err, &oe) {
		return err
	}
	return &OpError{Op: op, Net: network, Err: err}
}
