package netlink

import (
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/vishvananda/netlink"
)

// TestLinkNotFound holds upstream's struct to what linkNotFound takes it for, and
// the error to every way that callers know it by.
func TestLinkNotFound(t *testing.T) {
	typ := reflect.TypeFor[netlink.LinkNotFoundError]()
	if typ.NumField() != 1 || typ.Field(0).Type != reflect.TypeFor[error]() || typ.Field(0).Offset != 0 {
		t.Fatalf("%v is no struct of one error any more", typ)
	}
	err := linkNotFound("Link %s not found", "en7")
	if _, ok := err.(netlink.LinkNotFoundError); !ok { //nolint:errorlint // callers of upstream do it so
		t.Errorf("%T", err)
	}
	var theirs netlink.LinkNotFoundError
	if !errors.As(fmt.Errorf("find: %w", err), &theirs) || theirs.Error() != "Link en7 not found" {
		t.Errorf("%v", theirs)
	}
}
