package cni

import "fmt"

// domains makes isolation domains and takes them back.
type domains interface {
	// create returns what CNI_NETNS is for a new domain.
	create(name string) (ref string, err error)
	// destroy ends a domain. A domain that has ended already is no error.
	destroy(ref string) error
	// file is create for a domain whose reference is a path that is gone after
	// destroy.
	file(name string) (ref string, err error)
	// state is the way into a domain, or nil where there is none.
	state() netState
}

// A netState changes and reads the links inside a domain.
type netState interface {
	hasLink(ref, name string) (bool, error)
	// drift changes a link as a drift hook would; false: it cannot.
	drift(ref, name, what string) (bool, error)
	// addRoute adds a route to dst on the link.
	addRoute(ref, name, dst string) error
}

func newDomains(t *Target, work string) (domains, error) {
	switch t.Domain {
	case DomainCustom:
		return custom{t.Custom}, nil
	case DomainNetNS:
		return newNetNS()
	case DomainOpaque:
		return opaque{work}, nil
	}
	return none{}, nil
}

// none makes no domains.
type none struct{}

func (none) create(string) (string, error) { return "", fmt.Errorf("isolation domain none") }
func (none) file(string) (string, error)   { return "", fmt.Errorf("isolation domain none") }
func (none) destroy(string) error          { return nil }
func (none) state() netState               { return nil }

// custom are the target's own.
type custom struct{ d Domain }

func (c custom) create(name string) (string, error) { return c.d.Create(name) }
func (c custom) file(name string) (string, error)   { return c.d.Create(name) }
func (c custom) destroy(ref string) error           { return c.d.Destroy(ref) }
func (c custom) state() netState                    { return nil }
