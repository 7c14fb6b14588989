#!/usr/bin/env bash
# Install what tests and demos need beyond Go: deps.sh vm|bench|all.
#   vm   QEMU, busybox and a small Linux kernel for the real guest
#   all  that, and clang with blocks for the library with vmnet.framework's ABI,
#        etcd for the store that a fleet shares, containerd, and what reads
#        captures and metrics
#   bench  QEMU and kernel, clang, and what make bench runs beside ours: passt,
#          slirp4netns, nft
# As root on Debian and its kin it installs; elsewhere it prints the one command
# and says what is left out. It never fails for that: the tests say what they
# skip and why.
set -euo pipefail
vm="qemu-system-x86 busybox-static"
all="$vm clang libblocksruntime-dev iproute2 nftables tcpdump tshark"
case "${1:-all}" in
vm) want=$vm ;;
bench) want="$vm clang libblocksruntime-dev iproute2 nftables ethtool passt slirp4netns" ;;
*) want=$all ;;
esac

cache=${VMNET_KERNEL_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/vmnet/kernel}

# try runs a command, and again up to three times when it fails: a mirror, or the
# lock of another apt, may be away for a moment. Once all was in vain, there is one
# try for what follows.
again=3
try() {
  local n
  for ((n = 1; n <= again; n++)); do
    "$@" && return 0
    echo "deps: $*: failed; once more in $((5 * n)) s" >&2
    sleep $((5 * n))
  done
  "$@" || { again=0; return 1; }
}

aptget() { DEBIAN_FRONTEND=noninteractive apt-get -q -o Acquire::Retries=3 -o DPkg::Lock::Timeout=120 "$@" >/dev/null; }

# lists fetches the lists of packages, for root alone. Whether enough of them came
# is for what follows to tell.
lists() { [ "$(id -u)" != 0 ] || aptget update || true; }

install() { lists && aptget install -y --no-install-recommends "$@"; }

# download gets packages as files into a directory, at first by the lists that are
# there.
download() {
  local dir=$1
  shift
  (cd "$dir" && { aptget download "$@" 2>/dev/null || { lists && aptget download "$@"; }; })
}

# unpack DIR PACKAGE...: the files of the packages below DIR, all or none.
unpack() {
  local dir=$1 tmp p ok=0
  shift
  tmp=$(mktemp -d)
  mkdir "$tmp/deb" "$tmp/root"
  try download "$tmp/deb" "$@" || ok=1
  for p in "$tmp"/deb/*.deb; do [ $ok != 0 ] || dpkg -x "$p" "$tmp/root" || ok=1; done
  # Next to its place first: what is cut off there is not taken for the whole.
  [ $ok != 0 ] || { mkdir -p "$(dirname "$dir")" && rm -rf "$dir.new" && cp -a "$tmp/root" "$dir.new"; } || ok=1
  if [ $ok = 0 ] && [ -e "$dir" ]; then
    cp -a "$dir.new/." "$dir" || ok=1
  elif [ $ok = 0 ]; then
    mv "$dir.new" "$dir" || ok=1
  fi
  rm -rf "$tmp" "$dir.new"
  return $ok
}

# The kernel must not become a choice of this machine's boot loader.
fetch_kernel() {
  compgen -G "$cache/boot/vmlinuz-*" >/dev/null && return 0
  local pkg
  pkg=$(kernel) || true
  [ -n "$pkg" ] || { lists; pkg=$(kernel) || true; }
  [ -n "$pkg" ] || { echo "deps: linux-image-cloud-amd64: no such package here; tests with a real guest are left out" >&2; return 0; }
  unpack "$cache" "$pkg" || echo "deps: $pkg: cannot be fetched; tests with a real guest are left out" >&2
}

kernel() { apt-cache depends linux-image-cloud-amd64 2>/dev/null | awk '/Depends: linux-image-[0-9]/ {print $2; exit}'; }

# etcd: Debian's etcd-server starts a service that listens on this machine, now and
# at every boot. Its tests look there (VMNET_ETCD_DIR).
fetch_etcd() {
  local dir=${VMNET_ETCD_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/vmnet/etcd}
  command -v etcd >/dev/null && return 0
  [ -x "$dir/usr/bin/etcd" ] && return 0
  if unpack "$dir" etcd-server; then
    echo "deps: etcd is in $dir"
  else
    echo "deps: etcd-server: cannot be fetched; the tests with etcd are left out" >&2
  fi
}

# containerd and runc likewise: the package would start a daemon. The test runs
# its own, in directories of its own (VMNET_CONTAINERD_DIR).
fetch_containerd() {
  local dir=${VMNET_CONTAINERD_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/vmnet/containerd}
  [ -x "$dir/usr/bin/containerd" ] && [ -x "$dir/usr/sbin/runc" ] && return 0
  if unpack "$dir" containerd runc libseccomp2; then
    echo "deps: containerd is in $dir"
  else
    echo "deps: containerd: cannot be fetched; the tests with it are left out" >&2
  fi
}

# DHCP clients whose habits the tests look at, with the libraries that a small
# Debian lacks: installed, dhcpcd and systemd-networkd would be services of this
# machine (VMNET_CLIENTS_DIR).
fetch_clients() {
  local dir=${VMNET_CLIENTS_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/vmnet/clients}
  [ -x "$dir/sbin/dhclient" ] && [ -x "$dir/usr/sbin/dhcpcd" ] && [ -x "$dir/lib/systemd/systemd-networkd" ] && return 0
  if unpack "$dir" isc-dhcp-client dhcpcd-base systemd libsystemd-shared libip4tc2 libkmod2 libseccomp2; then
    echo "deps: DHCP clients are in $dir"
  else
    echo "deps: DHCP clients: cannot be fetched; the tests with them are left out" >&2
  fi
}

# visudo, which reads our sample of sudoers; a machine without sudo gets none
# (VMNET_SUDO_DIR).
fetch_sudo() {
  local dir=${VMNET_SUDO_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/vmnet/sudo}
  command -v visudo >/dev/null && return 0
  [ -x "$dir/usr/sbin/visudo" ] && return 0
  if unpack "$dir" sudo; then
    echo "deps: visudo is in $dir"
  else
    echo "deps: sudo: cannot be fetched; the test with visudo is left out" >&2
  fi
}

# promtool, which judges /metrics; the package would start a server
# (VMNET_PROMETHEUS_DIR).
fetch_promtool() {
  local dir=${VMNET_PROMETHEUS_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/vmnet/prometheus}
  command -v promtool >/dev/null && return 0
  [ -x "$dir/usr/bin/promtool" ] && return 0
  if unpack "$dir" prometheus; then
    echo "deps: promtool is in $dir"
  else
    echo "deps: prometheus: cannot be fetched; the test with promtool is left out" >&2
  fi
}

case "$(uname -s)" in
Linux)
  if ! command -v apt-get >/dev/null; then
    echo "deps: not a Debian: install with your package manager: $want and a Linux kernel with virtio (VMNET_KERNEL_DIR); what is missing is left out" >&2
    exit 0
  fi
  missing=""
  for p in $want; do dpkg -s "$p" >/dev/null 2>&1 || missing="$missing $p"; done
  if [ -n "$missing" ] && [ "$(id -u)" != 0 ]; then
    echo "deps: to run every test: sudo apt-get install -y$missing; without it the tests that need them are left out" >&2
    missing=""
  fi
  if [ -n "$missing" ]; then
    echo "deps: installing$missing"
    # shellcheck disable=SC2086 # a list of words
    try install $missing || { echo "deps: cannot install$missing: see above; by hand: apt-get update && apt-get install$missing" >&2; exit 1; }
  fi
  [ "${1:-all}" = vm ] || [ "${1:-all}" = bench ] || { fetch_etcd; fetch_containerd; fetch_clients; fetch_promtool; fetch_sudo; }
  [ "$(uname -m)" = x86_64 ] || { echo "deps: the real guest is x86-64 only so far; left out" >&2; exit 0; }
  fetch_kernel
  ;;
Darwin)
  echo "deps: nothing to install; the tests with a QEMU guest and with the framework's stand-in run on Linux" >&2
  ;;
esac
