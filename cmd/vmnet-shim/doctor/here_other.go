//go:build !linux

package doctor

import "net"

func links() ([]Link, error) {
	list, err := net.Interfaces()
	var all []Link
	for _, i := range list {
		all = append(all, Link{Name: i.Name})
	}
	return all, err
}
