package netlink

import (
	"fmt"
	"unsafe"
)

// linkNotFound returns upstream's LinkNotFoundError with a text. Callers know it
// by type assertion and errors.As, so that it must be that very type; its only
// field is an unexported, embedded error, which no other package can set: the
// struct is made from the error that it is laid out as. TestLinkNotFound and the
// lines below hold if upstream changes it.
func linkNotFound(format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	return *(*LinkNotFoundError)(unsafe.Pointer(&err))
}

// A LinkNotFoundError has exactly the size of an error: these do not compile
// otherwise.
var (
	_ [unsafe.Sizeof(LinkNotFoundError{}) - unsafe.Sizeof(error(nil))]struct{}
	_ [unsafe.Sizeof(error(nil)) - unsafe.Sizeof(LinkNotFoundError{})]struct{}
)
