package server

import (
	"encoding/json"

	"github.com/vmnet-cni/vmnet/pkg/ipam"
	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// Routes returns method and path of every route.
func Routes() [][2]string {
	var out [][2]string
	for _, r := range (&Server{}).routes() {
		out = append(out, [2]string{r.method, r.path})
	}
	return out
}

// DecodeAttach decodes and normalizes the body of a PUT for n/c/eth0.
func DecodeAttach(body []byte) (shim.AttachRequest, error) {
	var req shim.AttachRequest
	if err := decode(body, &req); err != nil {
		return req, err
	}
	err := normalize(ipam.Key{Network: "n", ContainerID: "c", IfName: "eth0"}, &req)
	return req, err
}

// DecodeGC decodes the body of a GC.
func DecodeGC(body []byte) (req shim.GCRequest, err error) {
	return req, decode(body, &req)
}

// ReadRecord reads the content of an attachment's state file.
func ReadRecord(data []byte) (ipam.Key, shim.AttachRequest, error) {
	var rec attachmentRecord
	if err := json.Unmarshal(data, &rec); err != nil {
		return rec.Key, rec.Request, err
	}
	return rec.Key, rec.Request, rec.valid()
}
