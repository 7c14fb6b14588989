package shim

import (
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"strings"
	"unicode"
)

// MaxName is the longest network name and container ID, in bytes. Names are
// hashed before they become part of a path, so this bounds only what is stored
// and sent.
const MaxName = 255

// MaxIfName is the longest interface name in bytes: IFNAMSIZ-1 of Linux and of
// macOS.
const MaxIfName = 15

// CheckNetwork returns an Error with CodeInvalid unless name is a network name
// as the CNI specification (1.1.0, section 1, "name") allows it.
func CheckNetwork(name string) error { return checkName("network", name) }

// CheckContainerID returns an Error with CodeInvalid unless id is a container
// ID as the CNI specification (1.1.0, section 2, CNI_CONTAINERID) allows it.
func CheckContainerID(id string) error { return checkName("containerID", id) }

// CheckIfName returns an Error with CodeInvalid unless name can name an
// interface: the rule of the kernel (dev_valid_name) and of the CNI library.
func CheckIfName(name string) error {
	switch {
	case name == "":
		return Invalidf("ifname", name, "want a name")
	case len(name) > MaxIfName:
		return Invalidf("ifname", name, "%d bytes, want at most %d", len(name), MaxIfName)
	case name == "." || name == "..":
		return Invalidf("ifname", name, "want a name that is not a directory")
	case strings.ContainsFunc(name, badIfNameRune):
		return Invalidf("ifname", name, "want no slash, colon, space or control character")
	}
	return nil
}

func badIfNameRune(r rune) bool {
	return r == '/' || r == ':' || unicode.IsSpace(r) || unicode.IsControl(r) || r == unicode.ReplacementChar
}

func checkName(key, name string) error {
	if name == "" {
		return Invalidf(key, name, "want a name")
	}
	if len(name) > MaxName {
		return Invalidf(key, name[:32]+"…", "%d bytes, want at most %d", len(name), MaxName)
	}
	for i := range len(name) {
		c := name[i]
		alnum := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !alnum && (i == 0 || c != '_' && c != '.' && c != '-') {
			return Invalidf(key, name, "want letters, digits, and after the first of them '_', '.' and '-'")
		}
	}
	return nil
}

// Hash returns 16 hexadecimal digits for an attachment. It is what stands for
// the attachment in names of files and sockets, since names of clients are
// never used as paths and are longer than a socket path may be.
func Hash(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:8])
}

// attachmentPath returns the path of an attachment in the API.
func attachmentPath(network, containerID, ifname string) string {
	return networkPath(network) + "/attachments/" + url.PathEscape(containerID) + "/" + url.PathEscape(ifname)
}

// networkPath returns the path of a network in the API.
func networkPath(network string) string {
	return "/" + APIVersion + "/networks/" + url.PathEscape(network)
}
