#!/bin/bash
# One container by "ctr run --cni", in mount and network namespaces that the test
# made: containerd, ctr and CNI have their paths built in. $1 is the directory of
# the test: bin/ with the plugin and its shim, etc/ with the configuration,
# image.tar. $2 has containerd and runc, $3 is the example. The rest is the container's
# command.
set -e
dir=$1 programs=$2 example=$3; shift 3
mount --make-rprivate /
for d in /run /var/lib /opt; do mount -t tmpfs tmpfs $d; done
mount --bind "$dir/etc" /etc
mkdir -p /opt/cni
cp -r "$dir/bin" /opt/cni/bin
export PATH=$programs/usr/bin:$programs/usr/sbin:$PATH CONTAINERD_ADDRESS=/run/c.sock
LD_LIBRARY_PATH=$(echo "$programs"/usr/lib/*-linux-gnu) # libseccomp, for runc
export LD_LIBRARY_PATH
cat >/run/c.toml <<'X'
version = 2
root = "/var/lib/c"
state = "/run/c"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "/run/c.sock"
X
containerd --config /run/c.toml >"$dir/containerd.log" 2>&1 &
pid=$!
trap 'kill $pid; wait $pid' EXIT
for _ in $(seq 600); do ctr version >/dev/null 2>&1 && break; sleep 0.1; done
ctr image import --snapshotter native "$dir/image.tar" >&2
ip -j link >"$dir/links.before"
nft list ruleset >"$dir/rules.before"
SNAPSHOTTER=native "$example" example.org/guest:1 one "$@"
ip -j link >"$dir/links.after"
nft list ruleset >"$dir/rules.after"
curl -s --unix-socket /run/vmnet/shim.sock http://shim/v1/status >"$dir/status.json"
ls /run/vmnet/s >"$dir/sockets"
kill "$(sed 's/.*"pid":\([0-9]*\).*/\1/' "$dir/status.json")"
