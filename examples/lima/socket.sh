#!/bin/sh
# A socket for Lima's "socket:" networks, as the user that runs this: ./socket.sh PATH
exec vmnet-shim socket_vmnet --socket-group="$(id -gn)" --vmnet-mode=shared \
    --vmnet-gateway=192.168.105.1 "$1"
