package doctor

import "github.com/vmnet-cni/vmnet/pkg/shim/netlink"

func links() ([]Link, error) {
	list, err := netlink.LinkList()
	var all []Link
	for _, l := range list {
		all = append(all, Link{l.Attrs().Name, l.Attrs().Alias})
	}
	return all, err
}
