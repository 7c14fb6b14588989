package leak

import (
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { Main(m) }

// TestFind has a goroutine that ends late, which is fine, and one that does not.
func TestFind(t *testing.T) {
	ignore := goleak.IgnoreCurrent()
	stay := make(chan struct{})
	go func() { <-stay }()
	err := find(0, []goleak.Option{ignore})
	if err == nil || !strings.Contains(err.Error(), "TestFind") {
		t.Errorf("%v, want the goroutine of this test", err)
	}
	time.AfterFunc(time.Second, func() { close(stay) }) // goleak alone has given up by then
	if err := Find(ignore); err != nil {
		t.Error(err)
	}
}
