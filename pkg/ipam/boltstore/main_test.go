package boltstore_test

import (
	"testing"

	"github.com/vmnet-cni/vmnet/internal/leak"
)

func TestMain(m *testing.M) {
	childMain()
	leak.Main(m, nil)
}
