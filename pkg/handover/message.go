package handover

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// Version is the version of the message that this package sends and takes.
const Version = 1

// Limits of an exchange.
const (
	// MaxLine is the size of a message or answer in bytes, newline included.
	MaxLine = 64 << 10
	// MaxWait bounds every exchange, whatever the context allows.
	MaxWait = time.Minute
)

// Kinds of frame fd.
const (
	KindDgram  = "dgram"  // SOCK_DGRAM, one frame a datagram
	KindStream = "stream" // SOCK_STREAM, a 4-byte big-endian length before each frame
	KindTap    = "tap"    // the fd of a tap interface
	// KindNetNS is no frame fd but a network namespace, in which the receiver makes
	// the interface: for the shim, whose driver can.
	KindNetNS = "netns"
)

// ErrProtocol is wrapped by the errors that say that the other side did not keep
// to the protocol: a message or answer that is malformed, too long, cut short or
// of another version, or one that came with the wrong descriptors.
var ErrProtocol = errors.New("hand-over protocol violated")

// A RefusedError is the other side's answer {"error": Reason}.
type RefusedError struct {
	Reason string // as it came, at most MaxLine bytes
}

// Error implements error.
func (e *RefusedError) Error() string { return "refused: " + e.Reason }

// A Message tells what a frame fd is. Its JSON form is the first line of an
// exchange.
type Message struct {
	Version     int    `json:"version"` // Version when 0 in a message to send
	Network     string `json:"network"`
	ContainerID string `json:"containerID"`
	IfName      string `json:"ifname"`

	Kind         string `json:"kind"`         // KindDgram, KindStream, KindTap or KindNetNS
	MAC          string `json:"mac"`          // which the guest must use
	MTU          int    `json:"mtu"`          // bytes of an IP packet
	MaxFrameSize int    `json:"maxFrameSize"` // bytes of a frame, Ethernet header included
	Offload      bool   `json:"offload"`      // frames may be larger than the MTU, checksums open
	// VnetHeader is how many bytes of virtio-net header (virtio 1.2, section 5.1.6,
	// little-endian) are before each frame, both ways, on top of MaxFrameSize: 0 unless
	// Offload. On sockets it is 12, and the runtime's configuration asked for it; on a
	// tap it is what the tap has now, and the runtime's to change.
	VnetHeader int `json:"vnetHeader,omitempty"`

	IPs []string `json:"ips"` // of the guest, each with its prefix length; empty at layer 2
}

// Bounds of Message.MTU and MaxFrameSize: RFC 791 asks every link to take 68
// bytes; 65535 is the largest IP packet.
const (
	minMTU      = 68
	maxMTU      = 65535
	headerSize  = 14      // Ethernet II, without a tag
	maxMaxFrame = 1 << 17 // larger than any frame of any driver
)

// Validate reports what a receiver would refuse in m, naming the JSON key. Its
// errors wrap ErrProtocol.
func (m *Message) Validate() error {
	if m.Version != Version {
		return fmt.Errorf("%w: version %d: want %d", ErrProtocol, m.Version, Version)
	}
	for _, f := range []struct{ key, value string }{
		{"network", m.Network}, {"containerID", m.ContainerID}, {"ifname", m.IfName},
	} {
		if f.value == "" {
			return fmt.Errorf("%w: %s: is empty", ErrProtocol, f.key)
		}
	}
	switch m.Kind {
	case KindDgram, KindStream, KindTap, KindNetNS:
	default:
		return fmt.Errorf("%w: kind %q: want %s, %s or %s", ErrProtocol, m.Kind, KindDgram, KindStream, KindTap)
	}
	mac, err := net.ParseMAC(m.MAC)
	if err != nil || len(mac) != 6 || mac[0]&1 != 0 {
		return fmt.Errorf("%w: mac %q: want six octets of a single station", ErrProtocol, m.MAC)
	}
	if m.MTU < minMTU || m.MTU > maxMTU {
		return fmt.Errorf("%w: mtu %d: want %d to %d", ErrProtocol, m.MTU, minMTU, maxMTU)
	}
	if m.MaxFrameSize < m.MTU+headerSize || m.MaxFrameSize > maxMaxFrame {
		return fmt.Errorf("%w: maxFrameSize %d: want %d (mtu and header) to %d",
			ErrProtocol, m.MaxFrameSize, m.MTU+headerSize, maxMaxFrame)
	}
	if m.VnetHeader != 0 && (m.VnetHeader != 10 && m.VnetHeader != 12 || !m.Offload) {
		return fmt.Errorf("%w: vnetHeader %d: want 10 or 12, with offload, or none", ErrProtocol, m.VnetHeader)
	}
	for i, ip := range m.IPs {
		if _, err := netip.ParsePrefix(ip); err != nil {
			return fmt.Errorf("%w: ips[%d] %q: want an address with its prefix length", ErrProtocol, i, ip)
		}
	}
	return nil
}

// encode returns the line of m, with its newline.
func (m Message) encode() ([]byte, error) {
	if m.Version == 0 {
		m.Version = Version
	}
	if m.IPs == nil {
		m.IPs = []string{} // "ips" is always a list
	}
	if err := m.Validate(); err != nil {
		return nil, err
	}
	return encodeLine(m)
}

// decodeMessage is the inverse of encode; line has no newline.
func decodeMessage(line []byte) (Message, error) {
	var m Message
	if err := decodeObject(line, &m); err != nil {
		return Message{}, fmt.Errorf("%w: message: %w", ErrProtocol, err)
	}
	if err := m.Validate(); err != nil {
		return Message{}, err
	}
	return m, nil
}

// answer is the line that ends an exchange.
type answer struct {
	OK    bool   `json:"ok,omitempty"`
	Error string `json:"error,omitempty"`
}

// decodeAnswer returns nil for {"ok":true}, a RefusedError for {"error":…}.
func decodeAnswer(line []byte) error {
	var a answer
	if err := decodeObject(line, &a); err != nil {
		return fmt.Errorf("%w: answer %.80q: %w", ErrProtocol, line, err)
	}
	switch {
	case a.Error != "":
		return &RefusedError{Reason: a.Error}
	case !a.OK:
		return fmt.Errorf("%w: answer %.80q: want ok or error", ErrProtocol, line)
	}
	return nil
}

// decodeObject decodes one JSON object and nothing else. json.Unmarshal alone
// would take null for an empty object.
func decodeObject(line []byte, v any) error {
	if trimmed := bytes.TrimSpace(line); len(trimmed) == 0 || trimmed[0] != '{' {
		return errors.New("not a JSON object")
	}
	return json.Unmarshal(line, v)
}

func encodeLine(v any) ([]byte, error) {
	line, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	if len(line)+1 > MaxLine {
		return nil, fmt.Errorf("%w: message of %d bytes: want at most %d", ErrProtocol, len(line)+1, MaxLine)
	}
	return append(line, '\n'), nil
}
