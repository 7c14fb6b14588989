package netlink

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/vmnet-cni/vmnet/pkg/shim/netlink/internal/bsd"
	"github.com/vmnet-cni/vmnet/pkg/shim/netlink/internal/conv"
)

// NeighList returns the neighbours on a link, or on all if it is 0, of a family or
// of both.
func NeighList(linkIndex, family int) ([]Neigh, error) {
	all, err := fetch(family, bsd.NetRtFlags, bsd.RtfLLInfo)
	if err != nil {
		return nil, fmt.Errorf("list neighbours: %w", err)
	}
	var out []Neigh
	for _, m := range all {
		if m, ok := m.(*bsd.RouteMsg); ok {
			n, ok := conv.Neigh(m)
			if ok && (linkIndex == 0 || n.LinkIndex == linkIndex) && (family == FAMILY_ALL || n.Family == family) {
				out = append(out, n)
			}
		}
	}
	return out, nil
}

// NeighAdd adds a permanent neighbour. EEXIST says that there is one.
func NeighAdd(neigh *Neigh) error { return changeNeigh("NeighAdd", "add", bsd.RtmAdd, neigh) }

// NeighSet adds a permanent neighbour in place of one that there may be.
func NeighSet(neigh *Neigh) error {
	err := changeNeigh("NeighSet", "set", bsd.RtmDelete, neigh)
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	return changeNeigh("NeighSet", "set", bsd.RtmAdd, neigh)
}

// NeighDel deletes a neighbour. ESRCH says that there is none.
func NeighDel(neigh *Neigh) error { return changeNeigh("NeighDel", "delete", bsd.RtmDelete, neigh) }

func changeNeigh(fn, verb string, typ uint8, neigh *Neigh) error {
	m, err := conv.NewNeigh(neigh, typ == bsd.RtmAdd)
	if err != nil {
		return explain(fn, verb+" neighbour", err)
	}
	m.Type = typ
	if err := ask(m); err != nil {
		return fmt.Errorf("%s neighbour %v: %w", verb, neigh.IP, err)
	}
	return nil
}
