// Package tap proves driver tap with the real binaries in namespaces of their own:
// QEMU guests on frames tap, a bridged LAN with a DHCP server, hundreds of
// attachments of which nothing is left, and shims that are killed under them.
package tap
