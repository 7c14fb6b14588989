#!/bin/sh
# QEMU with its network card on an inherited fd. Arguments are QEMU's:
#   ./fd.sh -m 1024 -drive file=disk.qcow2,if=virtio
# QEMU=qemu-system-aarch64 chooses another one.
exec vmnet-shim run --network shared -- sh -c '
    exec "${QEMU:-qemu-system-x86_64}" "$@" \
        -netdev dgram,id=net0,local.type=fd,local.str="$VMNET_FD" \
        -device virtio-net-pci,netdev=net0,romfile=,mac="$VMNET_MAC"' qemu "$@"
