package capture

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// maxFilter bounds a filter's text in bytes, and so its depth.
const maxFilter = 1024

// A Filter chooses frames. The zero value, and nil, choose all.
type Filter struct {
	text  string
	match test
}

// A test is a filter or a part of one.
type test func(p *packet) bool

// Match reports whether the filter chooses an Ethernet frame, of which size bytes
// were on the way. It may be called from several goroutines.
func (f *Filter) Match(frame []byte, size int) bool {
	if f == nil || f.match == nil {
		return true
	}
	p := packet{frame: frame, size: size}
	p.parse()
	return f.match(&p)
}

// String returns the text that was parsed.
func (f *Filter) String() string {
	if f == nil {
		return ""
	}
	return f.text
}

// ParseFilter reads a filter in the language of pcap-filter(7): the primitives
//
//	ip  ip6  arp  tcp  udp  icmp  icmp6
//	[src|dst] host ADDRESS         [src|dst] net PREFIX
//	[tcp|udp] [src|dst] port N     [tcp|udp] [src|dst] portrange N-M
//	ether [src|dst] host MAC       ether src MAC  ether dst MAC
//	ether broadcast  ether multicast
//	less N  greater N
//
// joined by and (&&), or (||), not (!) and parentheses, "and" before "or". Empty
// text chooses all frames.
func ParseFilter(text string) (*Filter, error) {
	if len(text) > maxFilter {
		return nil, fmt.Errorf("filter of %d bytes: want at most %d", len(text), maxFilter)
	}
	p := parser{words: words(text)}
	if len(p.words) == 0 {
		return &Filter{}, nil
	}
	match, err := p.or()
	if err == nil && len(p.words) > 0 {
		err = fmt.Errorf("unexpected %q", p.words[0])
	}
	if err != nil {
		return nil, fmt.Errorf("filter %q: %w", text, err)
	}
	return &Filter{text: text, match: match}, nil
}

// words splits a filter's text.
func words(text string) []string {
	for _, op := range []string{"(", ")", "&&", "||", "!"} {
		text = strings.ReplaceAll(text, op, " "+op+" ")
	}
	return strings.Fields(text)
}

// A parser takes words from the front.
type parser struct{ words []string }

// next takes the next word; it is empty at the end.
func (p *parser) next() string {
	if len(p.words) == 0 {
		return ""
	}
	w := p.words[0]
	p.words = p.words[1:]
	return w
}

// take takes the next word if it is one of want.
func (p *parser) take(want ...string) (string, bool) {
	for _, w := range want {
		if len(p.words) > 0 && p.words[0] == w {
			p.words = p.words[1:]
			return w, true
		}
	}
	return "", false
}

func (p *parser) or() (test, error) {
	left, err := p.and()
	for err == nil {
		if _, ok := p.take("or", "||"); !ok {
			return left, nil
		}
		var right test
		a := left
		if right, err = p.and(); err == nil {
			left = func(p *packet) bool { return a(p) || right(p) }
		}
	}
	return nil, err
}

func (p *parser) and() (test, error) {
	left, err := p.not()
	for err == nil {
		if _, ok := p.take("and", "&&"); !ok {
			return left, nil
		}
		var right test
		a := left
		if right, err = p.not(); err == nil {
			left = func(p *packet) bool { return a(p) && right(p) }
		}
	}
	return nil, err
}

func (p *parser) not() (test, error) {
	if _, ok := p.take("not", "!"); ok {
		t, err := p.not()
		return func(p *packet) bool { return !t(p) }, err
	}
	if _, ok := p.take("("); ok {
		t, err := p.or()
		if err != nil {
			return nil, err
		}
		if _, ok := p.take(")"); !ok {
			return nil, fmt.Errorf("want ) before %q", p.next())
		}
		return t, nil
	}
	return p.primitive()
}

// protocols are the primitives of one word.
var protocols = map[string]test{
	"ip":    func(p *packet) bool { return p.etherType == typeIPv4 },
	"ip6":   func(p *packet) bool { return p.etherType == typeIPv6 },
	"arp":   func(p *packet) bool { return p.etherType == typeARP },
	"tcp":   func(p *packet) bool { return p.protocol(protoTCP) },
	"udp":   func(p *packet) bool { return p.protocol(protoUDP) },
	"icmp":  func(p *packet) bool { return p.etherType == typeIPv4 && p.protocol(protoICMP) },
	"icmp6": func(p *packet) bool { return p.etherType == typeIPv6 && p.protocol(protoICMPv6) },
}

func (p *parser) primitive() (test, error) {
	switch w := p.next(); w {
	case "":
		return nil, fmt.Errorf("want a primitive at the end, as \"tcp port 80\"")
	case "ether":
		return p.ether()
	case "less", "greater":
		return p.length(w)
	case "src", "dst", "host", "net", "port", "portrange":
		p.words = append([]string{w}, p.words...)
		return p.qualified(nil)
	case "tcp", "udp":
		if len(p.words) > 0 {
			switch p.words[0] {
			case "src", "dst", "port", "portrange":
				return p.qualified(protocols[w])
			}
		}
		return protocols[w], nil
	default:
		if t, ok := protocols[w]; ok {
			return t, nil
		}
		return nil, fmt.Errorf("%q: want ip, ip6, arp, tcp, udp, icmp, icmp6, host, net, port, portrange, ether, less or greater", w)
	}
}

func (p *parser) length(w string) (test, error) {
	text := p.next()
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return nil, fmt.Errorf("%s %q: want a number of bytes", w, text)
	}
	if w == "less" {
		return func(p *packet) bool { return p.size <= int(n) }, nil
	}
	return func(p *packet) bool { return p.size >= int(n) }, nil
}

func (p *parser) ether() (test, error) {
	if w, ok := p.take("broadcast", "multicast"); ok {
		all := w == "multicast" // broadcast is one
		return func(p *packet) bool {
			return len(p.frame) >= 6 && p.frame[0]&1 == 1 && (all || string(p.frame[:6]) == "\xff\xff\xff\xff\xff\xff")
		}, nil
	}
	side, _ := p.take("src", "dst")
	if _, ok := p.take("host"); !ok && side == "" {
		return nil, fmt.Errorf("ether %q: want src, dst, host, broadcast or multicast", p.next())
	}
	text := p.next()
	mac, err := net.ParseMAC(text)
	if err != nil || len(mac) != 6 {
		return nil, fmt.Errorf("ether %q: want a MAC", text)
	}
	m := string(mac)
	return func(p *packet) bool {
		return len(p.frame) >= 12 && (side != "dst" && string(p.frame[6:12]) == m || side != "src" && string(p.frame[:6]) == m)
	}, nil
}

// qualified reads what may have src or dst before it. only, if not nil, is another
// condition.
func (p *parser) qualified(only test) (test, error) {
	side, _ := p.take("src", "dst")
	what := p.next()
	text := p.next()
	var t test
	var err error
	switch what {
	case "host", "net":
		var prefix netip.Prefix
		if prefix, err = parsePrefix(what, text); err == nil {
			t = func(p *packet) bool { return p.address(side, prefix) }
		}
	case "port", "portrange":
		var first, last uint16
		if first, last, err = parsePorts(what, text); err == nil {
			t = func(p *packet) bool { return p.port(side, first, last) }
		}
	default:
		err = fmt.Errorf("%s %q: want host, net, port or portrange", side, what)
	}
	if err != nil || only == nil {
		return t, err
	}
	return func(p *packet) bool { return only(p) && t(p) }, nil
}

func parsePrefix(what, text string) (netip.Prefix, error) {
	if what == "host" {
		a, err := netip.ParseAddr(text)
		if err != nil || a.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf("host %q: want an address", text)
		}
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil || p.Masked() != p {
		return netip.Prefix{}, fmt.Errorf("net %q: want a prefix without host bits, as 10.0.0.0/8", text)
	}
	return p, nil
}

func parsePorts(what, text string) (first, last uint16, err error) {
	from, to, ranged := strings.Cut(text, "-")
	a, err1 := strconv.ParseUint(from, 10, 16)
	b, err2 := a, error(nil)
	if ranged {
		b, err2 = strconv.ParseUint(to, 10, 16)
	}
	if err1 != nil || err2 != nil || a > b || ranged != (what == "portrange") {
		return 0, 0, fmt.Errorf("%s %q: want a number up to 65535, or two with - between them for portrange", what, text)
	}
	return uint16(a), uint16(b), nil
}
