//go:build !linux

package main

import (
	"context"
	"errors"
	"os"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/vmnet-cni/vmnet/pkg/shim"
)

var errNoNamespaces = errors.ErrUnsupported

// openNamespace returns nil: only Linux has network namespaces.
func openNamespace(string) (*os.File, error) { return nil, nil }

func plumb(context.Context, *shim.Client, shim.Attachment, *os.File, []*types.Route) error {
	return errNoNamespaces
}

func checkLink(*os.File, string, shim.Attachment, *types100.Result, *types100.Interface) ([]string, error) {
	return nil, errNoNamespaces
}
