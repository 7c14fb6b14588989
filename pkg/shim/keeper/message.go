package keeper

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// Bounds of a message and of a name.
const (
	maxMessage = 4096 // bytes
	maxRights  = 8    // descriptors in one message
	maxName    = 128  // bytes; systemd allows 255
)

// A message is what a datagram to the keeper says. Unknown keys are ignored, as
// sd_notify(3) asks.
type message struct {
	ready, stopping bool
	store, remove   bool
	name            string
	pid             int // MAINPID; 0: not told
}

// parse reads a datagram.
func parse(data []byte) (m message, err error) {
	if len(data) > maxMessage {
		return m, fmt.Errorf("message of %d bytes: want at most %d", len(data), maxMessage)
	}
	for line := range bytes.SplitSeq(data, []byte("\n")) {
		key, value, _ := bytes.Cut(line, []byte("="))
		on := string(value) == "1"
		switch string(key) {
		case "READY":
			m.ready = on
		case "STOPPING":
			m.stopping = on
		case "FDSTORE":
			m.store = on
		case "FDSTOREREMOVE":
			m.remove = on
		case "FDNAME":
			m.name = string(value)
		case "MAINPID":
			m.pid, err = strconv.Atoi(string(value))
			if err != nil || m.pid < 2 {
				return message{}, fmt.Errorf("MAINPID %q: want a process ID", value)
			}
		}
	}
	switch {
	case m.store && m.remove:
		return message{}, errors.New("FDSTORE and FDSTOREREMOVE in one message")
	case m.store || m.remove:
		return m, CheckName(m.name)
	}
	return m, nil
}

// CheckName refuses a name for descriptors that the protocol cannot carry: 1 to
// 128 of [a-zA-Z0-9._-].
func CheckName(name string) error {
	if name == "" || len(name) > maxName {
		return fmt.Errorf("name of %d bytes: want 1 to %d", len(name), maxName)
	}
	for _, c := range []byte(name) {
		if !letter(c) && c != '.' && c != '-' && c != '_' {
			return fmt.Errorf("name %q: want letters, digits, dots, hyphens and underscores", name)
		}
	}
	return nil
}

func letter(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}
