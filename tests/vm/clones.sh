# SPDX-License-Identifier: MIT
# What the scripts about members that start from one template use: what must not be the same in two of them.
# shellcheck shell=bash

as_root=() # what goes before a command where the login is not root's
guest() { "$DROVER" exec -t "$patience" "$1" -- "${as_root[@]}" sh -c "$2"; }
# What the line prints in each of the members, which nobody else may have.
differ() {
	local line=$1 m
	shift
	for m; do
		guest "$m" "$line" || return 1
	done | sort | tee "$home/all" | uniq -d | grep . && return 1
	[ "$(grep -c . "$home/all")" -ge $# ]
}
# The kernel's time stamps are those of the boot that the template had.
one_boot() {
	local m
	for m; do
		guest "$m" 'dmesg | grep -E "Freeing unused kernel image \(init"' || return 1
	done | sort -u | tee "$home/boots"
	[ "$(wc -l <"$home/boots")" = 1 ]
}
on_time() {
	local before after now m
	for m; do
		before=$(date +%s) && now=$(guest "$m" 'date +%s') && after=$(date +%s) || return 1
		[ "$now" -ge $((before - 1)) ] && [ "$now" -le $((after + 1)) ] ||
			{ echo "$m says $now between $before and $after"; return 1; }
	done
}
# Not also that of who made the template, which is the same here.
lets_in_one() {
	local m
	for m; do
		[ "$(guest "$m" 'for f in /root/.ssh/authorized_keys /home/*/.ssh/authorized_keys; do [ ! -e $f ] || grep -c . $f; done' | sort -u)" = 1 ] || return 1
	done
}
# Each has the IPv6 address that its MAC address makes, and no other but the loop's.
from_its_mac() {
	local m a b c d e f address
	for m; do
		IFS=: read -r a b c d e f <<<"$(guest "$m" 'cat /sys/class/net/eth0/address')"
		printf -v address 'fe80::%x:%x:%x:%x' $(((0x$a ^ 2) << 8 | 0x$b)) $((0x$c << 8 | 0xff)) $((0xfe00 | 0x$d)) $((0x$e << 8 | 0x$f))
		"$DROVER" wait -t "$patience" "$m" -c "ip addr show dev eth0 | grep -q inet6" >/dev/null || return 1
		out_is "$address" guest "$m" 'ip addr show dev eth0 | sed -nE "s,^ *inet6 ([^/]*)/.*,\1,p"' || return 1
	done
}
# senders MEMBER COMMAND...: the MAC addresses that send in the network of MEMBER while the command runs, in $home/senders.
senders() {
	local member=$1 line pid
	shift
	exec {frames}< <(exec "$DROVER" net exec "$member" -- python3 -c '
import socket
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))  # every frame of every device
print("begun", flush=True)
while True:
    print(s.recv(65536)[6:12].hex(":"), flush=True)')
	pid=$!
	read -r line <&"$frames" && [ "$line" = begun ] && "$@"
	line=$?
	kill "$pid"
	sort -u <&"$frames" >"$home/senders"
	exec {frames}<&-
	return "$line"
}
# Of the senders each is one of these members or a device of the host's, and all of them are among the senders.
only_own_send() {
	local m
	"$DROVER" net exec "$1" -- ip -o link | sed -nE 's,.* link/[a-z]* ([^ ]*) .*,\1,p' >"$home/own" || return 1
	for m; do
		guest "$m" 'cat /sys/class/net/eth0/address' >"$home/mac" || return 1
		grep -qxFf "$home/mac" "$home/senders" || { echo "$m sent nothing"; return 1; }
		cat "$home/mac" >>"$home/own"
	done
	! grep -vxFf "$home/own" "$home/senders"
}
# An address of its own after a boot of its own: the guest's, not drover's.
boots_again() {
	local mac
	mac=$(guest "$1" 'cat /sys/class/net/eth0/address') && guest "$1" 'touch /dev/shm/before' || return 1
	"$DROVER" exec -t "$patience" "$1" -- "${as_root[@]}" reboot
	"$DROVER" wait -t "$patience" "$1" -c 'test ! -e /dev/shm/before' && out_is "$mac" guest "$1" 'cat /sys/class/net/eth0/address' &&
		out_is "$1" guest "$1" hostname
}
