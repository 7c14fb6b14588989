#!/bin/sh
# vfkit with its network card on an inherited fd. Arguments are vfkit's.
exec vmnet-shim run --network shared -- sh -c '
    exec vfkit "$@" --device "virtio-net,fd=$VMNET_FD,mac=$VMNET_MAC"' vfkit "$@"
