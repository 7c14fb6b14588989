#!/bin/sh
# QEMU with its network card on the stream socket of a CNI result: QEMU connects
# again by itself when the shim is started anew. Arguments are QEMU's.
set -e
: "${QEMU:=qemu-system-x86_64}"
id=qemu-$$

cni() { # VERB
    printf '%s' '{"cniVersion":"1.1.0","name":"shared","type":"vmnet","frames":"stream"}' |
        CNI_COMMAND=$1 CNI_CONTAINERID=$id CNI_IFNAME=eth0 CNI_NETNS=vm://$id CNI_PATH=/ vmnet
}

cni ADD
trap 'cni DEL' EXIT
trap 'exit 130' INT # or a shell leaves without that
trap 'exit 143' HUP TERM
version=$("$QEMU" --version | sed -n 's/^QEMU emulator version \([0-9]*\.[0-9]*\).*/\1/p')
# shellcheck disable=SC2046 # the arguments have no spaces, or qemu-args says so
"$QEMU" "$@" $(vmnet-shim qemu-args "$id" --qemu-version "$version")
