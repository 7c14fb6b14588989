#!/bin/busybox sh
# udhcpc(8) calls this with what the lease says in its environment.
case "$1" in
deconfig)
	ip -4 addr flush dev eth0 # IPv6 needs its link-local address
	;;
bound | renew)
	[ -z "$mtu" ] || ip link set eth0 mtu "$mtu"
	ip addr add "$ip/$mask" dev eth0
	if [ -n "$staticroutes" ]; then # RFC 3442: then option 3 is not used
		set -- $staticroutes
		while [ $# -ge 2 ]; do
			if [ "$2" = 0.0.0.0 ]; then ip route add "$1" dev eth0; else ip route add "$1" via "$2"; fi
			shift 2
		done
	elif [ -n "$router" ]; then
		ip route add default via "${router%% *}"
	fi
	[ -z "$search$domain" ] || echo "search ${search:-$domain}" >/etc/resolv.conf
	for s in $dns; do echo "nameserver $s" >>/etc/resolv.conf; done
	echo "VMNET lease address=$ip/$mask router=${router%% *} dns=${dns// /,} mtu=$mtu domain=$domain search=${search// /,} server=$serverid seconds=$lease hostname=$hostname" >/dev/console
	;;
nak)
	echo "VMNET nak $message" >/dev/console
	;;
esac
