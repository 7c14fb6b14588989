#!/bin/sh
# A container on our network with plain containerd: ./run.sh IMAGE ID [COMMAND…]
# ctr looks for plugins in /opt/cni/bin and for networks in /etc/cni/net.d.
# SNAPSHOTTER=native is for file systems on which overlays do not work.
exec ctr run --rm --cni ${SNAPSHOTTER:+--snapshotter "$SNAPSHOTTER"} "$@"
