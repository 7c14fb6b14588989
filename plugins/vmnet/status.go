package main

import (
	"context"
	"errors"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/shim"
)

// status says whether ADD can work: a shim answers and has an address left, or
// one could be started. It starts none and changes nothing, since runtimes ask
// every few seconds. An IPAM plugin must be ready too.
func status(c *call) (output, error) {
	if err := c.shimStatus(); err != nil {
		return output{}, err
	}
	d, err := c.ipam()
	if err != nil {
		return output{}, errorf(codeNotReady, "%w", err)
	}
	if d != nil {
		_, err = d.run(c.ctx, c.env.Command)
	}
	return output{}, err
}

// statusPatience is how long STATUS waits for the shim, whatever shim.timeout
// says: runtimes ask every few seconds.
const statusPatience = 5 * time.Second

func (c *call) shimStatus() error {
	client, err := c.ensure(false)
	if errors.Is(err, shim.ErrNotRunning) {
		return c.couldStart(err)
	}
	if err != nil {
		return errorf(statusCode(err), "%w", err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(c.ctx, statusPatience)
	defer cancel()
	n, err := client.Network(ctx, c.conf.Name)
	switch {
	case errors.Is(err, shim.ErrNotRunning): // it has just ended
		return c.couldStart(err)
	case shim.CodeOf(err) == shim.CodeNotFound:
		return nil // nothing uses it yet
	case err != nil:
		return errorf(statusCode(err), "%w", err)
	case n.IPAM == shim.IPAMBuiltin && n.Free == 0:
		return errorf(codeNotReady, "network %s: no address of subnet %s is free", c.conf.Name, n.Subnet)
	}
	return nil
}

// couldStart says whether ADD could start a shim. Where it may not, and none
// runs, guests have no network either.
func (c *call) couldStart(notRunning error) error {
	if !c.conf.Shim.Spawn {
		return errorf(codeNotReadyLosing, "%w", notRunning)
	}
	cfg := shim.EnsureConfig{Address: c.conf.Shim.Address, Binary: c.conf.Shim.Binary, Spawn: true}
	if err := cfg.CanStart(); err != nil {
		return errorf(codeNotReady, "%w", err)
	}
	return nil
}

// statusCode is 51 when the shim is there and does not answer: frames do not
// move then. They do when it is the lease store that does not answer.
func statusCode(err error) uint {
	var e *shim.Error
	if errors.As(err, &e) && e.Code == shim.CodeUnavailable && e.Key != shim.KeyIPAM {
		return codeNotReadyLosing
	}
	return codeNotReady
}
