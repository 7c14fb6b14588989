package tap_test

import (
	"testing"

	"github.com/vmnet-cni/vmnet/internal/leak"
	"github.com/vmnet-cni/vmnet/internal/ownns"
)

func TestMain(m *testing.M) {
	ownns.Enter()
	leak.Main(m, nil)
}
