#!/usr/bin/env bash
# Run the tests. What this machine has proven to have (root, namespaces, QEMU,
# a compiler for blocks) is named in VMNET_REQUIRE, so that a test which skips
# for want of it fails instead. Arguments go to `go test`.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "${CI:-}" = true ] && [ -z "${VMNET_REQUIRE+set}" ] && [ "$(uname -s)" = Linux ] && [ "$(id -u)" = 0 ]; then
  export VMNET_REQUIRE=root,netns,userns,qemu,clang,nft
  # deps.sh gets these for a Debian.
  command -v apt-get >/dev/null && VMNET_REQUIRE=$VMNET_REQUIRE,busybox,dhclient,dhcpcd,systemd-networkd,tcpdump,tshark,promtool,visudo,etcd,containerd,proxy
fi
if [ "$(uname -s)" = Darwin ]; then
  # vmnet.framework looks at the entitlement of the executable, and go test's
  # binaries have none: sign each before it runs.
  set -- -exec "$PWD/packaging/macos/run-signed" "$@"
fi
exec go test -timeout 15m "$@" ./...
