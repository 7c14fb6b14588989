package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// Codes of CNI errors. Those below 100 are the specification's (1.1.0, section
// 5, "Error"); 100 and above are this plugin's own.
const (
	codeVersion        = 1  // incompatible CNI version
	codeUnsupported    = 2  // unsupported field; the message has key and value
	codeUnknown        = 3  // container unknown; no DEL is needed
	codeEnv            = 4  // invalid environment; the message names the variables
	codeIO             = 5  // reading or writing failed
	codeDecode         = 6  // stdin is not what it should be
	codeConfig         = 7  // invalid network configuration
	codeTryAgain       = 11 // the shim is not there, or does not answer, now
	codeNotReady       = 50 // STATUS: no ADD is possible
	codeNotReadyLosing = 51 // STATUS: and existing containers may have no network

	codeConflict  = 100 // the attachment, the address or the MAC is taken
	codeDenied    = 101 // the shim, or the attachment, is somebody else's
	codeExhausted = 102 // no address or no interface is free; a DEL frees some
	codeHandover  = 103 // the runtime refused the frame fd, or answered wrongly
	codeDrift     = 104 // CHECK: what is there differs from the result of ADD
	codeInternal  = 999 // a fault of the plugin, the shim or the system
)

// shimCodes maps the shim's refusals. Exhaustion has a code of its own, and not
// 11: it ends with a DEL, not with time.
var shimCodes = map[shim.Code]uint{
	shim.CodeInvalid:     codeConfig,
	shim.CodeTooLarge:    codeConfig,
	shim.CodeDenied:      codeDenied,
	shim.CodeNotFound:    codeUnknown,
	shim.CodeConflict:    codeConflict,
	shim.CodeUnsupported: codeUnsupported,
	shim.CodeExhausted:   codeExhausted,
	shim.CodeUnavailable: codeTryAgain,
	shim.CodeInternal:    codeInternal,
}

// A cniError is the document that a verb which fails prints. The library's
// types.Error has no cniVersion, which the specification asks for.
type cniError struct {
	CNIVersion string `json:"cniVersion"`
	Code       uint   `json:"code"`
	Msg        string `json:"msg"`
	Details    string `json:"details,omitempty"`

	cause error
}

// Error implements error.
func (e *cniError) Error() string { return e.Msg }

// Unwrap returns the error that errorf wrapped.
func (e *cniError) Unwrap() error { return e.cause }

// errorf returns a cniError; %w keeps the cause.
func errorf(code uint, format string, args ...any) *cniError {
	err := fmt.Errorf(format, args...)
	return &cniError{Code: code, Msg: err.Error(), cause: errors.Unwrap(err)}
}

// badValue is the error for a configuration value that can never be right.
func badValue(key string, value any, want string, args ...any) *cniError {
	return errorf(codeConfig, "%s %s: want %s", key, show(value), fmt.Sprintf(want, args...))
}

// notBuilt is the error for a value that is right and asks for what this version
// does not do: refused, since ignoring it would be worse.
func notBuilt(key string, value any, why string) *cniError {
	return errorf(codeUnsupported, "%s %s: not supported yet: %s", key, show(value), why)
}

// show returns v as it may stand in JSON, shortened.
func show(v any) string {
	raw, ok := v.(json.RawMessage)
	if !ok {
		var err error
		if raw, err = json.Marshal(v); err != nil {
			return fmt.Sprintf("%q", fmt.Sprint(v))
		}
	}
	const most = 200
	if len(raw) > most {
		return string(raw[:most]) + "…"
	}
	return string(raw)
}

// join is errors.Join for answers: the code and the message of the first, with
// the other in the details.
func join(first, second error) error {
	if first == nil || second == nil {
		return errors.Join(first, second)
	}
	e := *asCNIError(first)
	e.Details = strings.TrimSpace(e.Details + "\nand: " + second.Error())
	return &e
}

// asCNIError makes any error one that can be printed.
func asCNIError(err error) *cniError {
	var ce *cniError
	if errors.As(err, &ce) {
		return ce
	}
	var se *shim.Error
	if errors.As(err, &se) {
		if code, ok := shimCodes[se.Code]; ok {
			return &cniError{Code: code, Msg: err.Error(), cause: err}
		}
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return &cniError{Code: codeTryAgain, Msg: err.Error(), cause: err}
	}
	return &cniError{Code: codeInternal, Msg: err.Error(), cause: err}
}
