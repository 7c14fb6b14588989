package main

import "github.com/vmnet-cni/vmnet/pkg/shim"

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
	// Each goes on when the other fails, and both tell.
	return output{}, join(c.gcShim(), c.ipamRun())
}

func (c *call) gcShim() error {
	return c.cleanUp(shim.Dirs.AnyRecorded, func(client *shim.Client) error {
		deleted, err := client.GC(c.ctx, c.conf.Name, *c.conf.Valid)
		for _, d := range deleted {
			c.log.note("deleted %s/%s", d.ContainerID, d.IfName)
		}
		return err
	})
}
