package server

import (
	"errors"
	"fmt"
	"net/http"
	"os"

	"github.com/vmnet-cni/vmnet/pkg/shim"
	"github.com/vmnet-cni/vmnet/pkg/vmnet"
)

// nativeNotes go with every serialization.
var nativeNotes = []string{
	"the network ends with the process pid, and with the last attachment to it: keep one for as long as a guest is on it",
	"frames of a native attachment do not pass the shim: no check of its addresses, no counters, no limits, no capture",
	"the shim does not answer its DHCP, and the system's server is off: configure the address of an attachment's lease in the guest",
}

// getSerialization answers with what another process needs to join the network
// through the framework.
func (s *Server) getSerialization(w http.ResponseWriter, r *http.Request, who caller) error {
	name := r.PathValue("network")
	if err := shim.CheckNetwork(name); err != nil {
		return err
	}
	o, err := s.openOf(who, name)
	if err != nil {
		return err
	}
	n, ok := o.Network.(vmnet.Serializer)
	if !ok {
		return shim.Errorf(shim.CodeUnsupported, "network %s: driver %s has no networks that other processes can join", name, o.granted.Driver)
	}
	data, err := n.Serialize(r.Context())
	switch {
	case errors.Is(err, vmnet.ErrClosed):
		return noNetwork(name) // its last attachment went just now
	case err != nil:
		return fmt.Errorf("serialize network %s: %w", name, err)
	}
	s.cfg.Log.WithField("network", name).WithField("uid", who.uid).Info("serialization handed out")
	return writeJSONBody(w, http.StatusOK, shim.Serialization{
		Network: name, Driver: o.granted.Driver, Key: vmnet.SerializationKey, Data: data, PID: os.Getpid(), Notes: nativeNotes,
	})
}

// openOf returns the open network of an attachment that the caller sees.
func (s *Server) openOf(who caller, name string) (*openNetwork, error) {
	err := noNetwork(name)
	for _, a := range s.visible(who) {
		switch {
		case a.rec.Network != name:
		case a.net != nil:
			return a.net, nil
		default:
			err = shim.Errorf(shim.CodeUnavailable, "network %s: attachment %s is broken: %s", name, a.rec.Key, a.problem)
		}
	}
	return nil, err
}

func noNetwork(name string) *shim.Error {
	return shim.Errorf(shim.CodeNotFound, "network %s: no attachment of this user is in it", name)
}
