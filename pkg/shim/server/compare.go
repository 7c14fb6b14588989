package server

import (
	"cmp"
	"encoding/json"
	"fmt"
	"sort"

	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// compareSpecs refuses a request for an open network that asks for something
// else than the first one did, and something else than the network is. It names
// the key and both values.
func compareSpecs(name string, want shim.NetworkSpec, o *openNetwork) error {
	asked, granted, wanted := fields(o.asked), fields(o.granted), fields(want)
	for _, key := range keys(asked, granted, wanted) {
		if wanted[key] == asked[key] || wanted[key] == granted[key] {
			continue
		}
		have := asked[key]
		if have == "" {
			have = granted[key]
		}
		err := &shim.Error{Code: shim.CodeConflict, Key: "network." + key, Value: wanted[key],
			Message: fmt.Sprintf("network.%s %q: network %s is in use with %q", key, wanted[key], name, have)}
		if key == "offload" {
			err.Message = fmt.Sprintf("network.offload %s: network %s is in use with %s: its guests would get frames that they did not agree to",
				cmp.Or(wanted[key], "false"), name, cmp.Or(have, "false"))
		}
		return err
	}
	return nil
}

// compareRequests returns the first key in which two normalized requests for
// one attachment differ.
func compareRequests(have, want shim.AttachRequest) error {
	h, w := fields(have), fields(want)
	for _, key := range keys(h, w) {
		if h[key] != w[key] {
			return &shim.Error{Code: shim.CodeConflict, Key: key, Value: w[key],
				Message: fmt.Sprintf("%s %q: the attachment exists with %q", key, w[key], h[key])}
		}
	}
	return nil
}

// fields returns the keys of a request and their values as text, "" for those
// that are not set.
func fields(v any) map[string]string {
	data, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	var raw map[string]json.RawMessage
	if json.Unmarshal(data, &raw) != nil {
		return nil
	}
	out := make(map[string]string, len(raw))
	for k, value := range raw {
		var s string
		if json.Unmarshal(value, &s) != nil {
			s = string(value)
		}
		out[k] = s
	}
	return out
}

// keys returns the keys of all maps, sorted.
func keys(maps ...map[string]string) []string {
	seen := map[string]bool{}
	var all []string
	for _, m := range maps {
		for k := range m {
			if !seen[k] {
				seen[k] = true
				all = append(all, k)
			}
		}
	}
	sort.Strings(all)
	return all
}
