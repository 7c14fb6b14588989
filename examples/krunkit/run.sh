#!/bin/sh
# krunkit with its network card on an inherited fd. Arguments are krunkit's.
exec vmnet-shim run --network shared -- sh -c '
    exec krunkit "$@" --device "virtio-net,type=unixgram,fd=$VMNET_FD,mac=$VMNET_MAC,offloading=off"' krunkit "$@"
