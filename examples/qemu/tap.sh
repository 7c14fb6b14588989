#!/bin/sh
# Linux, root: QEMU on a tap of the kernel's bridge. No frame passes the shim.
# Arguments are QEMU's.
exec vmnet-shim run --network fast --driver tap --frames tap -- sh -c '
    exec "${QEMU:-qemu-system-x86_64}" "$@" \
        -netdev tap,id=net0,fd="$VMNET_FD",vhost=off \
        -device virtio-net-pci,netdev=net0,romfile=,mac="$VMNET_MAC"' qemu "$@"
