package main

import (
	"errors"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// del deletes the attachment by network, container ID and ifname alone, so that
// it works without prevResult, without CNI_NETNS, again, and for what was never
// added.
//
// When no shim runs there may still be a lease and the record of the attachment
// in the state directory. Then the shim is started to delete them, where the
// configuration allows that; where it does not, DEL asks to be tried again
// (code 11) instead of losing an address. With no such record there is nothing
// to do.
//
// An IPAM plugin is asked last, when the interface is gone for certain: until
// then a guest may use the address.
func del(c *call) (output, error) {
	if err := c.detach(); err != nil {
		return output{}, err
	}
	return output{}, c.ipamDel(c.ctx)
}

func (c *call) detach() error {
	recorded := func(d shim.Dirs) (bool, error) {
		return d.Recorded(c.conf.Name, c.env.ContainerID, c.env.IfName)
	}
	return c.cleanUp(recorded, func(client *shim.Client) error {
		err := client.Detach(c.ctx, c.conf.Name, c.env.ContainerID, c.env.IfName)
		if shim.CodeOf(err) == shim.CodeNotFound {
			err = nil
		}
		return err
	})
}

// How often a request is made again when the shim ends under it, and how long
// its end may take each time.
const (
	cleanUpTries = 5
	cleanUpPause = 20 * time.Millisecond
)

// cleanUp makes a request of a shim, if one is needed. A shim that is just ending
// still takes connections, and answers none of them: then everything begins
// again, until it is gone and the next one can start.
func (c *call) cleanUp(recorded func(shim.Dirs) (bool, error), do func(*shim.Client) error) error {
	for try := 1; ; try++ {
		client, err := c.ensureForCleanup(recorded)
		if err != nil || client == nil {
			return err
		}
		err = errors.Join(do(client), client.Close())
		if shim.CodeOf(err) != shim.CodeUnavailable || c.ctx.Err() != nil || try == cleanUpTries {
			return err
		}
		select {
		case <-time.After(cleanUpPause):
		case <-c.ctx.Done():
			return err
		}
	}
}

// ensureForCleanup returns a client, or nil when no shim runs and none is
// needed, since nothing is recorded. A shim at an address of its own that this
// plugin may not start has a state directory that the plugin does not know: then
// it cannot tell.
func (c *call) ensureForCleanup(recorded func(shim.Dirs) (bool, error)) (*shim.Client, error) {
	client, notRunning := c.ensure(false)
	if !errors.Is(notRunning, shim.ErrNotRunning) {
		return client, notRunning
	}
	if c.conf.Shim.Address != "" && !c.conf.Shim.Spawn {
		return nil, notRunning
	}
	dirs, err := shim.FindDirs()
	if err != nil {
		return nil, err
	}
	switch found, err := recorded(dirs); {
	case err != nil:
		return nil, err
	case !found:
		c.log.note("no shim is running and nothing is recorded: nothing to do")
		return nil, nil
	case !c.conf.Shim.Spawn:
		return nil, notRunning
	}
	return c.ensure(true)
}
