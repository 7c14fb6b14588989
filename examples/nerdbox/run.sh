#!/bin/sh
# A container in a VM of its own with nerdbox: ./run.sh IMAGE [COMMAND…]
set -e
id=box-$$
image=$1
shift

cni() { # VERB
    printf '%s' '{"cniVersion":"1.1.0","name":"shared","type":"vmnet"}' |
        CNI_COMMAND=$1 CNI_CONTAINERID=$id CNI_IFNAME=eth0 CNI_NETNS=vm://$id CNI_PATH=/ vmnet
}

cni ADD
trap 'cni DEL' EXIT
trap 'exit 130' INT # or a shell leaves without that
trap 'exit 143' HUP TERM
# shellcheck disable=SC2046 # the annotations have no spaces, or the command says so
ctr run --rm --runtime io.containerd.nerdbox.v1 $(vmnet-shim annotations "$id") "$image" "$id" "$@"
