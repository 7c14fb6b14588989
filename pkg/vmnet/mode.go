package vmnet

import "fmt"

// Mode says how far an interface reaches. The zero value is Shared.
type Mode uint8

const (
	// Shared reaches the outside through network address translation, the host,
	// and the other guests of the network.
	Shared Mode = iota
	// Host reaches the host and the other guests of the network, nothing else.
	Host
	// Bridged puts the guest directly on the network of a physical interface,
	// named by NetworkConfig.Uplink.
	Bridged
)

var modeNames = [...]string{Shared: "shared", Host: "host", Bridged: "bridged"}

// Modes returns the text form of every mode, for messages and flags.
func Modes() []string { return append([]string(nil), modeNames[:]...) }

// ParseMode returns the mode with the text form s: "shared", "host" or
// "bridged". The empty string is Shared.
func ParseMode(s string) (Mode, error) {
	if s == "" {
		return Shared, nil
	}
	for m, name := range modeNames {
		if s == name {
			return Mode(m), nil
		}
	}
	return 0, fmt.Errorf("mode %q: want one of %q", s, modeNames)
}

// String returns the text form that ParseMode reads.
func (m Mode) String() string {
	if int(m) < len(modeNames) {
		return modeNames[m]
	}
	return fmt.Sprintf("mode(%d)", uint8(m))
}

// MarshalText implements encoding.TextMarshaler.
func (m Mode) MarshalText() ([]byte, error) {
	if int(m) >= len(modeNames) {
		return nil, fmt.Errorf("mode %d: not a mode", uint8(m))
	}
	return []byte(modeNames[m]), nil
}

// UnmarshalText implements encoding.TextUnmarshaler, so that a Mode can be a
// field of a JSON object and the value of a flag (flag.TextVar).
func (m *Mode) UnmarshalText(text []byte) error {
	v, err := ParseMode(string(text))
	if err != nil {
		return err
	}
	*m = v
	return nil
}
