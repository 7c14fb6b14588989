package leak

import (
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { Main(m, func() {}) }

// A goroutine that ends later than goleak waits is none that is left; one that does
// not end is.
func TestFind(t *testing.T) {
	before := goleak.IgnoreCurrent()
	stay := make(chan struct{})
	go func() { <-stay }()
	if err := find(0, before); err == nil {
		t.Error("a goroutine that waits is not found")
	}
	time.AfterFunc(time.Second, func() { close(stay) })
	None(t, before)
}
