#!/bin/busybox sh
# The guest's first and only program. Lines that begin with "VMNET " are for the
# host: "boot", "lease …", "step NAME begin|ok|fail …", "out NAME …", "done".
bb=/bin/busybox
$bb mount -t proc proc /proc
$bb mount -t sysfs sys /sys
$bb mount -t devtmpfs dev /dev
$bb --install -s /bin
export PATH=/bin

# Whatever happens, this machine does not outlive its use.
(sleep "$(cat /vmnet/lifetime)"; echo "VMNET expired"; poweroff -f) &

now() { cut -d' ' -f1 /proc/uptime; }
step() {
	echo "VMNET step $1 begin"
	from=$(now)
	if sh -e "/vmnet/steps/$1" >/tmp/out 2>&1 </dev/null; then how=ok; else how=fail; fi
	to=$(now)
	while IFS= read -r line || [ -n "$line" ]; do echo "VMNET out $1 $line"; done </tmp/out
	echo "VMNET step $1 $how $(awk "BEGIN{print $to-$from}")"
}

echo "VMNET boot $(now) $(uname -r)"
for m in $(cat /vmnet/modules); do insmod "/vmnet/$m.ko" || echo "VMNET fault insmod $m"; done
ip link set lo up
ip link set eth0 up || echo "VMNET fault no eth0"
echo "VMNET link $(cat /sys/class/net/eth0/address) $(cat /sys/class/net/eth0/mtu)"
if [ -f /vmnet/dhcp ]; then
	udhcpc -i eth0 -n -q -f -t 20 -T 1 -A 1 -s /vmnet/lease -x hostname:guest \
		-O mtu -O search -O staticroutes >/tmp/dhcp 2>&1 || { cat /tmp/dhcp; echo "VMNET fault dhcp"; }
fi
for s in $(cat /vmnet/order); do step "$s"; done
echo "VMNET done $(now)"
poweroff -f
