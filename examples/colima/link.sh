#!/bin/sh
# Put vmnet-shim in the place of Colima's socket_vmnet; -u takes it back.
# PREFIX is for trying it elsewhere.
set -e
program=$(command -v "${SHIM:-/opt/vmnet/bin/vmnet-shim}")
target=${PREFIX:-}/opt/colima/bin/socket_vmnet
if [ "${1:-}" = -u ]; then
    if [ -L "$target" ]; then rm "$target"; fi
    exit
fi
mkdir -p "$(dirname "$target")"
ln -sf "$program" "$target"
