package server_test

import (
	"fmt"
	"net"
	"testing"

	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// A PUT whose client has gone before the shim looked at it makes nothing: the DELETE
// that cleans up after the client may have been answered already.
func TestClientGoneBefore(t *testing.T) {
	r := start(t, config(newDirs(t)))
	r.attach("n", "other", shim.AttachRequest{})
	before := r.census()
	const body = `{"network":{"name":"n","mode":"shared"}}`
	for i := range 200 {
		c, err := net.Dial("unix", r.dirs.ShimSocket())
		if err != nil {
			t.Fatal(err)
		}
		_, err = fmt.Fprintf(c, "PUT /v1/networks/n/attachments/c/eth0 HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		if err := r.Detach(t.Context(), "n", "c", "eth0"); err != nil {
			t.Fatal(err)
		}
		// The next request is behind the PUT in the same queue, or the PUT was seen.
		list, err := r.Attachments(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(list) != 1 {
			t.Fatalf("round %d: %d attachments", i, len(list))
		}
	}
	r.nothingLeft(before)
}
