// Package observe notes which addresses a guest uses, where nobody gives it any: at
// layer 2 the DHCP server is somebody else's, and the guest's own frames are all
// that tells. It changes nothing.
package observe

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/vmnet-cni/vmnet/pkg/relay"
)

// MaxAddrs is how many addresses are kept; a new one takes the place of the one
// not seen for the longest time.
const MaxAddrs = 8

// maxIdentifier is the longest client identifier that is kept, in bytes.
const maxIdentifier = 130

// How an address was seen.
const (
	ARP = "arp" // the guest asked or answered as its holder (RFC 826)
	ND  = "nd"  // the same of IPv6 (RFC 4861)
)

// A Sighting is an address that the guest said is its own.
type Sighting struct {
	Addr        netip.Addr
	Via         string // ARP or ND
	First, Last time.Time
	Count       uint64 // frames that said so
}

// A Stage watches one guest. Its methods may be called from several goroutines.
type Stage struct {
	mac [6]byte

	mu         sync.Mutex // guards all following fields; taken for ARP, ND and DHCP only
	seen       []Sighting
	identifier []byte // of the guest's last DHCP message
}

var _ relay.Stage = (*Stage)(nil)

// New returns a stage that watches for the addresses of a MAC: a guest may bridge
// for others.
func New(mac net.HardwareAddr) *Stage {
	s := new(Stage)
	copy(s.mac[:], mac)
	return s
}

// Sightings returns the addresses, the last one seen first.
func (s *Stage) Sightings() []Sighting {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := slices.Clone(s.seen)
	slices.SortFunc(list, func(a, b Sighting) int { return b.Last.Compare(a.Last) })
	return list
}

// Identifier returns the client identifier (option 61) of the guest's last DHCP
// message, or nil.
func (s *Stage) Identifier() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.identifier)
}

// FromGuest implements relay.Stage; every frame passes. Frames of no use cost a few
// comparisons.
func (s *Stage) FromGuest(f []byte, _ func([]byte)) (relay.Verdict, relay.Reason) {
	if len(f) < 42 || [6]byte(f[6:12]) != s.mac {
		return relay.Pass, relay.ReasonNone
	}
	switch binary.BigEndian.Uint16(f[12:]) {
	case 0x0806:
		if a, ok := fromARP(f); ok {
			s.note(a, ARP)
		}
	case 0x86dd:
		if a, ok := fromND(f); ok {
			s.note(a, ND)
		}
	case 0x0800:
		if msg, ok := dhcpRequest(f); ok {
			s.noteIdentifier(option(msg, 61))
		}
	}
	return relay.Pass, relay.ReasonNone
}

func (s *Stage) note(a netip.Addr, via string) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	oldest := 0
	for i := range s.seen {
		if s.seen[i].Addr == a {
			s.seen[i].Last = now
			s.seen[i].Count++
			return
		}
		if s.seen[i].Last.Before(s.seen[oldest].Last) {
			oldest = i
		}
	}
	n := Sighting{Addr: a, Via: via, First: now, Last: now, Count: 1}
	if len(s.seen) < MaxAddrs {
		s.seen = append(s.seen, n)
	} else {
		s.seen[oldest] = n
	}
}

func (s *Stage) noteIdentifier(id []byte) {
	if len(id) < 2 || len(id) > maxIdentifier {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.identifier = append(s.identifier[:0], id...)
}
