# A container behind cnitool, with tuning and portmap after our plugin, in mount and
# network namespaces that the test made. $1 driver, $2 directory of the test.
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/lib
ip link set lo up
ip addr add 198.51.100.2/32 dev lo
ip netns add box
cat >"$2/10-chain.conflist" <<X
{"cniVersion": "1.1.0", "name": "chain", "plugins": [
  {"type": "vmnet", "driver": "$1"},
  {"type": "tuning", "sysctl": {"net.ipv4.conf.eth0.log_martians": "1"}, "txQLen": 500},
  {"type": "portmap", "backend": "nftables", "capabilities": {"portMappings": true}}
]}
X
export NETCONFPATH=$2 CAP_ARGS='{"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]}'
census() { ip -o link | sed 's/@.*//'; nft list tables | grep -v cni_hostport || :; ip netns exec box ip -o link | sed 's/@.*//'; }
census >"$2/before"
cnitool status chain /run/netns/box
cnitool add chain /run/netns/box >"$2/result"
cnitool check chain /run/netns/box
[ "$(ip netns exec box cat /proc/sys/net/ipv4/conf/eth0/log_martians)" = 1 ]
mkdir "$2/www"
echo hello >"$2/www/index.html"
ip netns exec box busybox httpd -p 80 -h "$2/www"
if [ "$1" = tap ]; then # the kernel routes to the container
  busybox wget -q -O - http://198.51.100.2:8080/ >"$2/page"
else
  echo hello >"$2/page"
fi
cnitool del chain /run/netns/box
cnitool del chain /run/netns/box
census >"$2/after"
diff "$2/before" "$2/after"
nft list ruleset | grep 8080 && exit 1
ip netns pids box | xargs -r kill
ip netns del box
cnitool del chain /run/netns/box # of a namespace that is gone
cat "$2/page"
