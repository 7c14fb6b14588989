package netlink

import (
	"testing"

	"github.com/vmnet-cni/vmnet/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m, nil) }
