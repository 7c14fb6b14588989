# A container in a user namespace, as rootless engines make it. $1 is the plugin.
set -e
ip link set lo up
unshare -n sleep 600 &
box=$!
trap 'kill $box' EXIT
until [ "$(readlink /proc/$box/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do :; done
export CNI_CONTAINERID=box CNI_NETNS=/proc/$box/ns/net CNI_IFNAME=eth0
conf='"cniVersion": "1.1.0", "name": "rootless", "type": "vmnet", "driver": "netstack"'
result=$(echo "{$conf}" | CNI_COMMAND=ADD "$1")
echo "{$conf, \"prevResult\": $result}" | CNI_COMMAND=CHECK "$1"
nsenter -t $box -n ip -o addr show eth0
for _ in 1 2 3 4 5 6; do # a machine that stands still for some seconds loses an answer
  nsenter -t $box -n busybox ping -c 1 -W 5 192.168.127.1 && break
  sleep 1
done
echo "{$conf}" | CNI_COMMAND=DEL "$1"
nsenter -t $box -n ip -o link
