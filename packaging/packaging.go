// Package packaging holds the files with which the shim becomes a part of a system:
// systemd's units, launchd's jobs, the entitlement, a sample for sudo. The commands
// that install it and the packages take them from here.
package packaging

import "embed"

// Files are the files, by their paths below this directory.
//
//go:embed systemd launchd sudoers macos/entitlements.plist
var Files embed.FS
