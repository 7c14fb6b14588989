// Command dhcp6c is a DHCPv6 client for the guests of conformance/vm: Debian's
// busybox has none. It asks on the interface that its argument names and prints
// address, name servers and search list, with a space between them and commas
// within. It configures nothing.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/dhcpv6/nclient6"
)

// patience is how long the client tries.
const patience = 30 * time.Second

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: dhcp6c INTERFACE")
		os.Exit(2)
	}
	line, err := lease(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "dhcp6c:", err)
		os.Exit(1)
	}
	fmt.Println(line)
}

func lease(ifname string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := open(ctx, ifname)
	if err != nil {
		return "", err
	}
	defer c.Close()
	advertise, err := c.Solicit(ctx)
	if err != nil {
		return "", fmt.Errorf("solicit: %w", err)
	}
	reply, err := c.Request(ctx, advertise)
	if err != nil {
		return "", fmt.Errorf("request: %w", err)
	}
	return text(reply)
}

// open waits for the interface's link-local address, which a socket can have as
// soon as nobody else turned out to (RFC 4862, section 5.4).
func open(ctx context.Context, ifname string) (*nclient6.Client, error) {
	for {
		c, err := nclient6.New(ifname, nclient6.WithTimeout(time.Second), nclient6.WithRetry(10))
		if err == nil {
			return c, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("interface %s: %w", ifname, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// text is what a reply says.
func text(m *dhcpv6.Message) (string, error) {
	ia := m.Options.OneIANA()
	if ia == nil || ia.Options.OneAddress() == nil {
		return "", errors.New("the reply has no address")
	}
	var dns, search []string
	for _, ip := range m.Options.DNS() {
		dns = append(dns, ip.String())
	}
	if l := m.Options.DomainSearchList(); l != nil {
		search = l.Labels
	}
	return fmt.Sprintf("%s %s %s", ia.Options.OneAddress().IPv6Addr, strings.Join(dns, ","), strings.Join(search, ",")), nil
}
