package framework

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// A HungError says that a call into the framework did not return, or did not
// call its handler, within the time limit. The call was abandoned. It matches
// os.ErrDeadlineExceeded.
type HungError struct {
	Call  string // the C function
	After time.Duration
}

// Error implements error.
func (e *HungError) Error() string {
	return fmt.Sprintf("%s: no answer within %s: the system's network sharing service does not respond "+
		"(known of macOS 27.0, where a stuck com.apple.pfd blocks every call until the Mac is restarted)", e.Call, e.After)
}

// Is reports whether target is os.ErrDeadlineExceeded.
func (e *HungError) Is(target error) bool { return target == os.ErrDeadlineExceeded }

// An UnsupportedError says that this macOS does not have what a feature needs.
// It matches errors.ErrUnsupported.
type UnsupportedError struct {
	Feature string
	Symbol  string // the first symbol that is missing
	Since   string // the first macOS that has it
}

// Error implements error.
func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("%s: needs macOS %s or later: this system has no %s", e.Feature, e.Since, e.Symbol)
}

// Is reports whether target is errors.ErrUnsupported.
func (e *UnsupportedError) Is(target error) bool { return target == errors.ErrUnsupported }

// A StatusError is a call that the framework refused. It matches its Code, and
// vmnet.ErrPermission when a missing privilege is what it means.
type StatusError struct {
	Call       string // the C function
	Code       vmnet.Code
	Permission bool
	Hint       string // what it means here and what to do
}

// Error implements error.
func (e *StatusError) Error() string {
	s := e.Call + ": " + e.Code.Error()
	if e.Hint != "" {
		s += ": " + e.Hint
	}
	return s
}

// Unwrap returns the code and, for a missing privilege, vmnet.ErrPermission.
func (e *StatusError) Unwrap() []error {
	if e.Permission {
		return []error{e.Code, vmnet.ErrPermission}
	}
	return []error{e.Code}
}

// A refusal is what is known of a call that opens or starts something and was
// refused; explain makes the error of it.
type refusal struct {
	call   string
	code   vmnet.Code
	root   bool   // the effective user is root
	modern bool   // the symbols of macOS 26 are there
	opened bool   // this process has opened a network before, so it has the privilege
	what   string // the network, for people: "subnet 192.168.127.0/24"
	mode   vmnet.Mode
}

// The framework says 1001 for nearly everything, and 1002 where a network is
// created (or, so it is taken here, joined) without privilege; 1005 and 1010, which are documented for it, have not
// been seen (measured on 26.6.2 by liminavm/limina; vmnet-broker 97d7292).
func (r refusal) explain() error {
	e := &StatusError{Call: r.call, Code: r.code}
	switch r.code {
	case vmnet.Failure:
		e.Permission = !r.root && !r.opened && r.call == callStart
		if e.Permission {
			e.Hint = r.privilege()
		} else {
			e.Hint = r.causes()
		}
	case vmnet.MemFailure:
		e.Permission = !r.root && (r.call == callCreate || r.call == callJoin)
		if e.Permission {
			e.Hint = r.privilege()
		}
	case vmnet.InvalidAccess, vmnet.NotAuthorized:
		e.Permission, e.Hint = true, r.privilege()
	case vmnet.ServiceBusy:
		e.Hint = r.what + " conflicts with another user of network sharing: " +
			"turn off Internet Sharing in System Settings, or choose another subnet, or the mode that the other one uses"
	case vmnet.InvalidArgument:
		e.Hint = r.what + " was not accepted"
	}
	return e
}

// privilege says what is missing on this version of macOS and how to get it.
func (r refusal) privilege() string {
	if r.modern {
		return "neither root nor signed for it: run as root, or sign the program " +
			"(ad hoc is enough on macOS 26 and later): " +
			"codesign -f -s - --entitlements packaging/macos/entitlements.plist PROGRAM; " +
			"if it is signed with com.apple.security.virtualization already: " + r.causes()
	}
	return "this macOS (before 26) lets only root use it, " +
		"or a program with the entitlement com.apple.vm.networking, which Apple gives on request: " +
		"run as root, or use the driver netstack"
}

// causes lists what else the status 1001 has been seen for.
func (r refusal) causes() string {
	list := []string{
		r.what + " is in use by another network or in the other mode",
		"Internet Sharing is on",
		"a killed process left its subnet behind (a restart frees it)",
	}
	if r.mode == vmnet.Bridged {
		list = []string{"the uplink cannot be bridged (docs/macos.md names what can)", "Internet Sharing is on"}
	}
	if r.modern {
		list = append(list, "the program lies under ~/Documents or ~/Desktop")
	}
	return "likely causes: " + strings.Join(list, ", ") +
		`; see: log stream --debug --info --predicate 'subsystem == "com.apple.NetworkSharing"'`
}

// Names of C functions that messages carry.
const (
	callStart     = "vmnet_start_interface"
	callStartWith = "vmnet_interface_start_with_network"
	callCreate    = "vmnet_network_create"
	callJoin      = "vmnet_network_create_with_serialization"
	callSerialize = "vmnet_network_copy_serialization"
	callStop      = "vmnet_stop_interface"
	callEvents    = "vmnet_interface_set_event_callback"
	callList      = "vmnet_copy_shared_interface_list"
	callRelease   = "CFRelease"
)

// success is VMNET_SUCCESS: not zero, so a status that nobody set is no success.
const success vmnet.Code = 1000

// check returns an error unless the call succeeded.
func check(call string, code vmnet.Code) error {
	if code == success {
		return nil
	}
	return &StatusError{Call: call, Code: code}
}

// invalidFrame says that f cannot be sent.
func invalidFrame(f []byte, code vmnet.Code) error {
	return fmt.Errorf("frame of %d bytes: %w", len(f), code)
}
