#!/bin/sh
# Put vmnet-shim in the place of vmnet-helper and socket_vmnet, where minikube looks
# for them; -u takes it back. PREFIX is for trying it elsewhere.
set -e
program=$(command -v "${SHIM:-/opt/vmnet/bin/vmnet-shim}")
for target in vmnet-helper/bin/vmnet-helper socket_vmnet/bin/socket_vmnet socket_vmnet/bin/socket_vmnet_client; do
    target=${PREFIX:-}/opt/$target
    if [ "${1:-}" = -u ]; then
        if [ -L "$target" ]; then rm "$target"; fi
        continue
    fi
    mkdir -p "$(dirname "$target")"
    ln -sf "$program" "$target"
done
