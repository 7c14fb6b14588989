package hostnet

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"math/bits"
	"net/netip"
	"strconv"
	"strings"
)

// parseRoutes4 reads /proc/net/route: a heading, then lines of Iface,
// Destination, Gateway, Flags, RefCnt, Use, Metric, Mask, …, where addresses are
// the bytes of the packet read as a number of the machine, in hexadecimal. All
// machines that this program is built for are little-endian.
func parseRoutes4(r io.Reader) ([]netip.Prefix, error) {
	return parse(r, 1, func(f []string) (netip.Prefix, error) {
		if len(f) < 8 {
			return netip.Prefix{}, fmt.Errorf("%d fields, want at least 8", len(f))
		}
		dst, err := strconv.ParseUint(f[1], 16, 32)
		if err != nil {
			return netip.Prefix{}, err
		}
		mask, err := strconv.ParseUint(f[7], 16, 32)
		if err != nil {
			return netip.Prefix{}, err
		}
		m := bits.ReverseBytes32(uint32(mask))
		ones := bits.LeadingZeros32(^m)
		if m<<ones != 0 {
			return netip.Prefix{}, fmt.Errorf("mask %08X has a hole", mask)
		}
		var a [4]byte
		binary.LittleEndian.PutUint32(a[:], uint32(dst))
		return netip.PrefixFrom(netip.AddrFrom4(a), ones), nil
	})
}

// parseRoutes6 reads /proc/net/ipv6_route: lines of destination and its length,
// source and its length, next hop, …, flags, device, in hexadecimal.
func parseRoutes6(r io.Reader) ([]netip.Prefix, error) {
	return parse(r, 0, func(f []string) (netip.Prefix, error) {
		if len(f) < 10 {
			return netip.Prefix{}, fmt.Errorf("%d fields, want at least 10", len(f))
		}
		b, err := hex.DecodeString(f[0])
		if err != nil || len(b) != 16 {
			return netip.Prefix{}, fmt.Errorf("destination %q: want 32 hexadecimal digits", f[0])
		}
		n, err := strconv.ParseUint(f[1], 16, 8)
		if err != nil || n > 128 {
			return netip.Prefix{}, fmt.Errorf("length %q: want at most 80", f[1])
		}
		return netip.PrefixFrom(netip.AddrFrom16([16]byte(b)), int(n)), nil
	})
}

// parse reads lines after a heading.
func parse(r io.Reader, heading int, line func(fields []string) (netip.Prefix, error)) ([]netip.Prefix, error) {
	var out []netip.Prefix
	scan := bufio.NewScanner(r)
	for n := 1; scan.Scan(); n++ {
		fields := strings.Fields(scan.Text())
		if n <= heading || len(fields) == 0 {
			continue
		}
		p, err := line(fields)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		out = append(out, p)
	}
	return out, scan.Err()
}
