package main

import (
	"encoding/json"

	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// gc deletes the attachments of this network that are not in the list of valid
// ones. An empty list, and null, mean that none is valid: that is what runtimes
// send for a network without containers. An absent list is refused, since it
// comes from callers that have no list, as cnitool, and would delete all that
// another runtime uses. An IPAM plugin is told the same.
func gc(c *call) (output, error) {
	if c.conf.Valid == nil {
		return output{}, errorf(codeConfig,
			"cni.dev/valid-attachments is missing: want the list of attachments to keep; [] deletes all of network %q", c.conf.Name)
	}
	valid, err := parseValid(c.conf.ValidKey, c.conf.Valid)
	if err != nil {
		return output{}, err
	}
	// Each goes on when the other fails, and both tell.
	return output{}, join(c.gcShim(valid), c.ipamRun())
}

// parseValid reads the list. An entry that names no attachment is refused, and not
// passed over: what it was meant to keep would be deleted.
func parseValid(key string, raw json.RawMessage) ([]shim.AttachmentID, error) {
	var entries []json.RawMessage
	if err := json.Unmarshal(raw, &entries); err != nil {
		return nil, badValue(key, raw, `a list of {"containerID": …, "ifname": …}`)
	}
	list := make([]shim.AttachmentID, len(entries))
	for i, entry := range entries {
		a := &list[i]
		if json.Unmarshal(entry, a) != nil || shim.CheckContainerID(a.ContainerID) != nil || shim.CheckIfName(a.IfName) != nil {
			return nil, badValue(key, entry, `{"containerID": …, "ifname": …} of an attachment`)
		}
	}
	return list, nil
}

func (c *call) gcShim(valid []shim.AttachmentID) error {
	return c.cleanUp(shim.Dirs.AnyRecorded, func(client *shim.Client) error {
		deleted, err := client.GC(c.ctx, c.conf.Name, valid)
		for _, d := range deleted {
			c.log.note("deleted %s/%s", d.ContainerID, d.IfName)
		}
		return err
	})
}
