package shim

import (
	"errors"
	"fmt"
	"io/fs"
)

// A Code says what kind of refusal an Error is. Codes never change their
// meaning; the HTTP status beside them is the nearest one.
type Code string

// Codes. The number is the HTTP status beside it.
const (
	CodeInvalid     Code = "invalid_argument"  // 400: Key and Value name the culprit
	CodeDenied      Code = "permission_denied" // 403: not the caller's
	CodeNotFound    Code = "not_found"         // 404: no such network or attachment
	CodeConflict    Code = "conflict"          // 409: exists, and is different, or the address is taken
	CodeTooLarge    Code = "too_large"         // 413: the request is over its limit
	CodeUnsupported Code = "unsupported"       // 501: this driver, mode or system cannot
	CodeExhausted   Code = "exhausted"         // 507: no address or no interface is free
	CodeUnavailable Code = "unavailable"       // 503: try again later
	CodeInternal    Code = "internal"          // 500: a fault of the shim or of the system
)

// An Error is the body of every answer that is not a success, and what Client
// returns for it.
type Error struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
	Key     string `json:"key,omitempty"`   // the configuration key at fault, as "network.subnet"
	Value   string `json:"value,omitempty"` // its value

	cause error // on the client's side; see Unwrap
}

// Error implements error.
func (e *Error) Error() string { return e.Message }

// Unwrap returns what the client found before the shim answered anything, as
// ErrNotRunning or the context's error, or nil.
func (e *Error) Unwrap() error { return e.cause }

// ErrNotRunning says that nobody listens on the shim's socket. Errors that wrap
// it have CodeUnavailable.
var ErrNotRunning = errors.New("no shim is running")

// CodeOf returns the code of the Error in err's chain, CodeInternal for any
// other error, and "" for nil.
func CodeOf(err error) Code {
	var e *Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &e):
		return e.Code
	}
	return CodeInternal
}

// Is makes an Error match the sentinels that fit its code: fs.ErrNotExist,
// fs.ErrExist, fs.ErrPermission, errors.ErrUnsupported.
func (e *Error) Is(target error) bool {
	switch target {
	case fs.ErrNotExist:
		return e.Code == CodeNotFound
	case fs.ErrExist:
		return e.Code == CodeConflict
	case fs.ErrPermission:
		return e.Code == CodeDenied
	case errors.ErrUnsupported:
		return e.Code == CodeUnsupported
	}
	return false
}

// Errorf returns an Error with the code and a formatted message.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Invalidf returns an Error with CodeInvalid for the value of a key. The message
// is "key value: " and the formatted rest, which says what would be right.
func Invalidf(key, value, format string, args ...any) *Error {
	return &Error{
		Code: CodeInvalid, Key: key, Value: value,
		Message: fmt.Sprintf("%s %q: ", key, value) + fmt.Sprintf(format, args...),
	}
}
