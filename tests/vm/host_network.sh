#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# --network host with real guests of the image tiny. Network and mount namespaces of this script's own play the host, with
# a neighbour behind a veth: nothing of the real host is touched.
cd "$(dirname "$0")" || exit 1
if [ "${1-}" != inside ]; then
	if ! [ "$(id -u)" -eq 0 ] || ! unshare -nm true 2>/dev/null; then
		echo "1..0 # SKIP needs root and namespaces"
		exit 0
	fi
	exec unshare -nm --propagation private bash host_network.sh inside
fi
. ./lib.sh
host=198.51.100.2
neighbour=198.51.100.1

play_host() {
	mount -t tmpfs none /run && ip link set lo up && ip netns add neighbour &&
		ip link add up0 type veth peer name peer0 netns neighbour &&
		ip addr add $host/24 dev up0 && ip link set up0 up && ip route add default via $neighbour &&
		ip -n neighbour addr add $neighbour/24 dev peer0 && ip -n neighbour link set peer0 up &&
		echo 0 >/proc/sys/net/ipv4/ip_forward
}
# The neighbour tells whoever connects which address it comes from.
start_neighbour() {
	exec 7< <(exec ip netns exec neighbour python3 -c '
import socket, sys
s = socket.create_server((sys.argv[1], 80))
print("listens", flush=True)
while True:
    c, a = s.accept()
    c.sendall((a[0] + "\n").encode())
    c.close()' $neighbour)
	server=$!
	read -r -t $patience <&7
}
end_neighbour() {
	kill "$server"
	finish
}
trap end_neighbour EXIT

address() { "$DROVER" ls -o json | python3 -c '
import json, sys
print([m["address"] for m in json.load(sys.stdin) if m["name"] == sys.argv[1]][0])' "$1"; }
subnet() { address "$1" | cut -d. -f1-3; }
bridge() { ip -o link show type bridge | grep -o 'drv[0-9a-f]*' | head -n 1; }
forwards() { [ "$(cat "/proc/sys/net/ipv4/conf/$1/forwarding")" = "$2" ]; }
helper_pid() { cat "$home/clusters/$1/$2/pid"; }
kill_and_wait() {
	kill -9 "$1"
	ended "$1"
}

# The host has N networks of ours: as many bridges, tables and records; with 0 no tap either, and nothing forwards.
networks_are() {
	local bridges tables records
	bridges=$(ip -o link show type bridge | grep -c ': drv')
	tables=$(nft list tables ip | grep -c ' drover_')
	records=$(find /run/drover/networks -type f 2>/dev/null | wc -l)
	[ "$bridges $tables $records" = "$1 $1 $1" ] ||
		{ echo "$bridges bridges, $tables tables, $records records"; ip -o link; return 1; }
	[ "$1" -gt 0 ] || { [ "$(ip -o link | grep -c ': drv')" -eq 0 ] && forwards up0 0; }
}
forwards_where_it_must() { forwards up0 1 && forwards "$(bridge)" 1 && forwards lo 0 && forwards all 0; }
ssh_to_address() {
	local ip
	ip=$(address a-1)
	[ "$(ssh -i "$home/id_ed25519" -o BatchMode=yes -o HostKeyAlias=a-1 \
		-o UserKnownHostsFile="$home/clusters/a/a-1/known_hosts" \
		"root@$ip" hostname)" = a-1 ]
}
way_out() { [ "$("$DROVER" exec "$1" -- nc -w "${2:-$patience}" $neighbour 80 </dev/null)" = $host ]; }
no_way_out() { ! way_out "$1" 3; }
# With a route to the guests a neighbour could try.
no_way_in() {
	local rc
	ip -n neighbour route add "$(subnet a-1).0/24" via $host
	timeout 2 ip netns exec neighbour bash -c "exec 3<>/dev/tcp/$(address a-1)/22"
	rc=$?
	ip -n neighbour route del "$(subnet a-1).0/24"
	[ "$rc" -ne 0 ]
}
audit_tells() {
	local all pid
	pid=$(helper_pid a a-1)
	all=$("$DROVER" audit) || { echo "$all"; return 1; }
	for kind in record table bridge tap; do
		grep -Eq "^$kind +a-1 +$pid +" <<<"$all" || { echo "no $kind: $all"; return 1; }
	done
	[ "$(grep -c '^tap ' <<<"$all")" -eq 2 ]
}
subnets_differ() { [ "$(subnet a-1)" != "$(subnet b)" ] && networks_are 2; }
no_way_across() { ! "$DROVER" exec a-1 -- nc -w 2 "$(address b)" 22 </dev/null; }
kill_vm() {
	kill_and_wait "$(processes | grep qemu-system | grep -- "guest=a-2" | head -n 1 | cut -d' ' -f1)"
	"$DROVER" exec a-1 -- true && [ "$(ip -o link | grep -c "$(bridge)t")" -le 1 ]
}
child_of() { cut -d' ' -f1 "/proc/$1/task/$1/children"; }
boot_id() { "$DROVER" exec "$1" -- cat /proc/sys/kernel/random/boot_id </dev/null; }
# Init starts another, which takes over what there is.
kill_helper() {
	local before init
	before=$(boot_id a-1)
	init=$(child_of "$(helper_pid a a-1)")
	kill_and_wait "$(child_of "$init")"
	[ -n "$before" ] && [ "$(boot_id a-1)" = "$before" ] && way_out a-1 && networks_are 2
}
# The supervisor sweeps; the other cluster goes on.
kill_init() {
	local supervisor
	supervisor=$(helper_pid a a-1)
	kill -9 "$(child_of "$supervisor")"
	ended "$supervisor"
	networks_are 1 && forwards up0 1 && way_out b
}
kill_supervisor() {
	kill_and_wait "$(helper_pid b b)"
	nothing_runs && [ "$(find /run/drover/networks -type f | wc -l)" -eq 1 ]
}
nothing_runs() {
	# shellcheck disable=SC2046
	ended $(processes | grep -E 'qemu-system|dnsmasq|drover-helper' | cut -d' ' -f1)
}
same_subnet() {
	local before
	before=$(address b)
	"$DROVER" down b && networks_are 0 && "$DROVER" up b && [ "$(address b)" = "$before" ] && networks_are 1
}
reclaimed_by() { # what a supervisor that was killed left goes with the next COMMAND
	"$@"
	networks_are 0
}
# As a supervisor that was killed leaves it, but for the dead themselves.
leave_things() {
	ip link add drv0123abcd type bridge && nft add table ip drover_0123abcd && mkdir -p /run/drover/networks &&
		cat >/run/drover/networks/drv0123abcd.json <<-END
		{"root": "$home", "member": "gone", "subnet": "10.83.77.0/24", "uplinks": [], "net_ns": $(stat -Lc %i /proc/self/ns/net),
		 "owner": {"pid": $$, "start_ticks": 1, "boot_id": "$(cat /proc/sys/kernel/random/boot_id)",
		 "pid_ns": $(stat -Lc %i /proc/self/ns/pid)}}
		END
	networks_are 1
}
# Three chains are in the way; the rule for addresses is added while the guest boots, those for the way out later.
firewall_warns() {
	local up warning
	nft 'add table ip filter; add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; };
		add chain ip filter INPUT { type filter hook input priority 0; policy drop; };
		add rule ip filter INPUT ct state established accept' && iptables-legacy -P FORWARD DROP
	mkfifo "$home/warned"
	"$DROVER" up b --quiet 2>"$home/warned" &
	up=$!
	read -r -t $patience warning <"$home/warned"
	echo "$warning"
	grep -q '^drover: warning: ' <<<"$warning" && grep -q "policy drop" "$home/helper-b.log" || return 1
	grep -o "nft 'insert rule ip filter INPUT [^']*'" <<<"$warning" | bash -e || return 1
	grep -o "nft 'insert rule ip filter FORWARD [^']*'" <<<"$warning" >"$home/rule"
	grep -o "iptables-legacy -I FORWARD .*ACCEPT" <<<"$warning" >"$home/legacy-rule" || return 1
	wait "$up"
}
table_without_record() {
	nft add table ip drover_01234567 && "$DROVER" prune && ! nft list table ip drover_01234567 2>/dev/null
}
damaged() {
	mkdir -p /run/drover/networks && echo '{' >/run/drover/networks/drv01234567.json
	"$DROVER" audit | grep -q '^unreadable .*drv01234567.json' &&
		fails_with 1 'drv01234567.json: it is no JSON' "$DROVER" prune &&
		rm /run/drover/networks/drv01234567.json && "$DROVER" prune
}
# A bound cluster on a network of the host ends with its client.
kill_client() {
	mkfifo "$home/up"
	"$DROVER" run c --image tiny --cpus 1 --network host -- sh -c "echo up >$home/up; exec cat" >/dev/null 2>"$home/run.err" \
		< <(exec tail -f /dev/null --pid=$$) &
	local client=$!
	read -r -t $patience <"$home/up" || { cat "$home/run.err"; return 1; }
	networks_are 1 || return 1
	kill -9 "$client"
	nothing_left && networks_are 0
}
fails_with() {
	local err rc
	err=$("${@:3}" 2>&1 >/dev/null)
	rc=$?
	[ "$rc" -eq "$1" ] && grep -Eq -- "$2" <<<"$err" || { echo "exit $rc: $err"; return 1; }
}

play_host && start_neighbour || { echo "Bail out! no host to play on"; exit 1; }
fails "without CAP_NET_ADMIN the error names --network private" 1 'hint: --network private' \
	setpriv --bounding-set=-net_admin "$DROVER" up no --image tiny --cpus 1 --network host
fails "the fake has no such network" 1 "'fake' has no network on the host" \
	"$DROVER" up no --backend fake --network host
ok "two members boot on a network of the host" "$DROVER" up a -n 2 --image tiny --cpus 1 --network host
ok "forwarding is on where it is needed, and nowhere else" forwards_where_it_must
ok "ssh to the address, from the host" ssh_to_address
ok "a member reaches the other by its name" "$DROVER" exec a-1 -- ping -c 1 a-2
fails "it is not forked: two would have one address" 1 'two cannot have one address' "$DROVER" fork a copy
ok "the way out is NAT by the host's address" way_out a-1
ok "nobody out there begins a connection to a member" no_way_in
ok "audit tells record, table, bridge and taps with their owner" audit_tells
ok "a second cluster, too" "$DROVER" up b --image tiny --cpus 1 --network host
ok "it has another subnet" subnets_differ
ok "clusters do not reach each other" no_way_across
ok "kill -9 of a VM takes its tap; the other goes on" kill_vm
ok "kill -9 of the helper: another takes over VM and network" kill_helper
ok "kill -9 of init: the supervisor leaves nothing, the other cluster goes on" kill_init
ok "down leaves nothing, and the next up has the same subnet on the same network" same_subnet
ok "kill -9 of the supervisor takes everything but what the host keeps" kill_supervisor
fails "audit says that it is nobody's" 1 "nobody's" "$DROVER" audit
ok "prune leaves nothing of it" reclaimed_by "$DROVER" prune
ok "a firewall that drops is told, and the rule that is told lets a member have its address" firewall_warns
ok "so there is no way out" no_way_out b
ok "the rule can be added as it was told" bash -e "$home/rule"
ok "which is not enough: iptables-legacy drops too" no_way_out b
ok "its rules can be added as they were told" bash -e "$home/legacy-rule"
ok "then there is one" way_out b
ok "kill -9 of the supervisor again" kill_supervisor
ok "the next up, of whatever cluster, reclaims it" reclaimed_by "$DROVER" up other --backend fake --quiet
ok "what another left" leave_things
ok "down reclaims it" reclaimed_by "$DROVER" down other
ok "kill -9 of the client of a bound cluster takes its network" kill_client
ok "prune finds a table that has no record" table_without_record
ok "a damaged record is named by audit and prune, and kept" damaged
ok "rm of all" "$DROVER" rm -f --all
ok "nothing is left" nothing_left
ok "nothing is left on the host" networks_are 0
done_testing
