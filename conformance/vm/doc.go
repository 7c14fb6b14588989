// Package vm runs a real Linux guest for tests and demos: Debian's cloud kernel
// and busybox in QEMU, with a virtio network card whose frames go over a
// datagram fd or a stream socket, as a runtime would have it.
//
// The guest boots from an initramfs that this package makes, asks for an address
// by DHCP, runs the steps it was given, tells about each on its serial console,
// and powers off. It never uses /dev/kvm: where that exists without working,
// QEMU hangs; emulation boots in a few seconds everywhere.
//
// It needs qemu-system-x86_64, a static busybox, and a kernel with its modules,
// which conformance/deps.sh fetches (Debian: apt-get install qemu-system-x86
// busybox-static; apt-get download linux-image-…-cloud-amd64, and dpkg -x). See
// FindKernel for where the kernel is looked for. What is missing is told by an
// error that matches ErrMissing.
package vm
