package port

import (
	"fmt"
	"net"
	"slices"
	"testing"
)

func TestFree(t *testing.T) {
	ports := Free(t, 20)
	slices.Sort(ports)
	if len(slices.Compact(ports)) != 20 {
		t.Errorf("%v, want 20 different ones", ports)
	}
	l, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", ports[0]))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, ok := take(ports[0]); ok {
		t.Errorf("port %d was taken twice", ports[0])
	}
}
