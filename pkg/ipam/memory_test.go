package ipam_test

import (
	"testing"

	"github.com/vmnet-cni/vmnet/pkg/ipam"
	"github.com/vmnet-cni/vmnet/pkg/ipam/ipamtest"
)

func TestMemoryStore(t *testing.T) {
	ipamtest.TestStore(t, func(*testing.T) ipam.Store { return ipam.NewMemoryStore() })
}
