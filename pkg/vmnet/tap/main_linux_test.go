package tap_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/vmnet-cni/vmnet/internal/ownns"
)

func TestMain(m *testing.M) {
	ownns.Enter()
	goleak.VerifyTestMain(m)
}
