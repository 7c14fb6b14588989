#!/bin/sh
# Every verb by cnitool, as root (its cache is /var/lib/cni): ./run.sh
# "vm://one" is what this machine is called; with the path of a network namespace the
# interface is made in it.
set -e
here=$(cd "$(dirname "$0")" && pwd)
NETCONFPATH=${NETCONFPATH:-$here/../net.d}
CNI_PATH=$(dirname "$(command -v vmnet)")
export NETCONFPATH CNI_PATH

cnitool status shared vm://one
cnitool add shared vm://one
cnitool check shared vm://one
vmnet-shim ls
cnitool del shared vm://one
