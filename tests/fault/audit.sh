#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# One thing of each kind that looks like drover's and is nobody's, planted by hand: audit lists it so, prune takes what it
# may take, and names or leaves the rest. Of a live cluster each has its owner. Over the fake backend; as root in namespaces of
# this script's own, which play the host.
#   audit.sh DROVER HELPER
if [ "$(id -u)" -eq 0 ] && [ -z "${DROVER_TEST_INSIDE-}" ]; then
	DROVER_TEST_INSIDE=1 exec unshare -nm --propagation private bash "$0" "$@"
fi
. "$(dirname "$0")/lib.sh"

# nobodys KIND MEMBER WHAT: the audit ends with 1 and has that line
nobodys() {
	local all
	all=$("$drover" audit 2>/dev/null) && return 1
	grep -Eq "^$1 +$2 +nobody +$3" <<<"$all" || { echo "$all"; return 1; }
}
# An orphan's mark: its owner is of another boot. The process has namespaces and a mount of its own when root planted it.
mark="1 1 00000000-0000-4000-8000-000000000000 gone $scratch/home"
plant_process() {
	local wrap=() line
	[ "$(id -u)" -eq 0 ] && wrap=(unshare -nm)
	mkfifo "$scratch/told"
	DROVER_OWNER=$mark "${wrap[@]}" sh -c '
		[ "$(id -u)" -ne 0 ] || { ip link add orphan0 type bridge && mount -t tmpfs none /mnt; }
		echo up >"$1"
		exec tail -f /dev/null' _ "$scratch/told" >/dev/null 2>&1 &
	orphan=$!
	disown
	read -r -t $patience line <"$scratch/told" && [ "$line" = up ]
}
plant_files() {
	mkdir -p "$DROVER_HOME/clusters/ghost/ghost-1" && touch "$DROVER_HOME/run/stray" &&
		touch "$DROVER_HOME/clusters/web/web-1/config.json.AbCdEf" &&
		echo 1 >"$DROVER_HOME/clusters/web/web-1/pid" &&
		python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])' "$DROVER_HOME/run/0123456789abcdef.sock"
}
# Somebody who is not drover holds the lock of a member, and the process that took it has ended.
plant_lock() {
	exec 8>>"$DROVER_HOME/clusters/web/web-2/.lock" && flock -n 8
}
plant_on_host() {
	mount -t tmpfs none /run && mount -t tmpfs none "$DROVER_HOME/clusters/web/web-2" &&
		ip link add drv01234567 address 02:64:72:00:00:01 type bridge && ip tuntap add drv89abcdeft0 mode tap && nft add table ip drover_01234567 &&
		mkdir -p /run/drover/networks && cat >/run/drover/networks/drv0000abcd.json <<-END
		{"root": "$DROVER_HOME", "member": "gone", "subnet": "10.83.77.0/24", "uplinks": [], "net_ns": $(stat -Lc %i /proc/self/ns/net),
		 "owner": {"pid": 1, "start_ticks": 1, "boot_id": "00000000-0000-4000-8000-000000000000",
		 "pid_ns": $(stat -Lc %i /proc/self/ns/pid)}}
		END
}
live() {
	local all owner kind
	owner=$(helper_of live live-1)
	all=$("$drover" audit --json) || { echo "$all"; return 1; }
	for kind in process lock pidfile socket; do
		python3 -c 'import json, sys
mine = [t for t in json.loads(sys.argv[1]) if t["kind"] == sys.argv[2] and t["member"].startswith("live-")]
sys.exit(not mine or any(t["owner"] != int(sys.argv[3]) for t in mine))' "$all" "$kind" "$owner" || { echo "$kind of $owner: $all"; return 1; }
	done
}
prune_takes() {
	"$drover" prune
	ended "$orphan" && [ ! -e "$DROVER_HOME/run/stray" ] && [ ! -e "$DROVER_HOME/clusters/ghost" ] &&
		[ ! -e "$DROVER_HOME/clusters/web/web-1/pid" ] && [ -e "$DROVER_HOME/clusters/web/web-1/config.json" ]
}

ok "a cluster runs" up live -n 2
ok "each thing of it has its helper for an owner" live
ok "rm" "$drover" rm -f live
ok "nothing is left" nothing_left
ok "two members are at rest" bash -c '"$1" up web -n 2 --backend fake --quiet && "$1" down web' _ "$drover"
plant_process # not in a subshell: it remembers the pid
tap_result $? "what is nobody's is planted: a process"
ok "a directory, a file, a draft, a pidfile, a socket" plant_files
ok "audit tells the process" nobodys process gone "tail, pid $orphan"
ok "the directory" nobodys directory ghost-1 '.*/clusters/ghost/ghost-1'
ok "the file" nobodys file - '.*/run/stray'
ok "the draft of a configuration" nobodys file web-1 '.*/config.json.AbCdEf'
ok "the pidfile" nobodys pidfile web-1 '.*/web-1/pid'
ok "the socket" nobodys socket - '.*/run/0123456789abcdef.sock'
# A pid namespace shows the locks of its own processes alone, and who took this one has ended: there it cannot be told.
if [ "$(readlink /proc/self/ns/pid)" = "pid:[4026531836]" ]; then
	plant_lock # which this shell holds
	tap_result $? "a lock that somebody holds who is not drover"
	ok "audit tells it" nobodys lock web-2 '.*/web-2/.lock'
	exec 8>&-
else
	n=$((n + 1))
	echo "ok $n - audit tells a lock whose taker has ended # SKIP in a pid namespace the kernel does not list it"
fi
if [ -n "${DROVER_TEST_INSIDE-}" ]; then
	ok "the orphan's namespaces" nobodys namespace gone 'net:\[[0-9]*\]'
	ok "the interface in one" nobodys interface gone orphan0
	ok "the mount in the other" nobodys mount gone '/mnt, seen by pid'
	ok "on the host: a mount, a bridge, a tap, a table, a record" plant_on_host
	ok "audit tells the mount on a member's directory" nobodys mount web-2 '.*/clusters/web/web-2$'
	ok "the bridge without a record" nobodys bridge - drv01234567
	ok "the tap" nobodys tap - drv89abcdeft0
	ok "the table" nobodys table - drover_01234567
	ok "the record of another boot" nobodys record gone '.*/drv0000abcd.json'
	umount "$DROVER_HOME/clusters/web/web-2"
	ok "prune removes what nobody can need" prune_takes
	ok "the tap, which somebody may hold, is still told" nobodys tap - drv89abcdeft0
	ip link del drv89abcdeft0
	host_lock() {
		mkdir -p /run/drover && : >/run/drover/lock && nobodys lock - /run/drover/lock &&
			flock /run/drover/lock "$drover" audit | grep -E "^lock +- +[0-9]+ +/run/drover/lock" &&
			"$drover" prune && [ ! -e /run/drover ]
	}
	ok "the lock of the host's networks is told when it lies there for nobody, and when somebody holds it" host_lock
	ok "bridge, table and record are gone, with /run/drover" \
		bash -c '! ip link show drv01234567 && ! nft list table ip drover_01234567 && [ ! -e /run/drover ]'
else
	ok "prune removes what nobody can need" prune_takes
fi
ok "then nothing is left" nothing_left
ok "and the members boot" up web -n 2
# What a killed supervisor leaves of its network, when its members run again under another.
dead_network() {
	local net
	sh -c true &
	wait $!
	net=$DROVER_HOME/run/$(printf web-1 | sha256sum | cut -c 1-16).$!.net
	mkdir -p "$net/names" && nobodys directory web-1 "$net" && "$drover" prune && [ ! -e "$net" ] &&
		[ "$("$drover" ls | grep -c '^web-.*running')" -eq 2 ]
}
ok "the files of a dead supervisor's network are nobody's, though its members run again" dead_network
# --- a cluster whose namespaces somebody keeps by descriptors and, as root, by a mount: a helper has them before it has a guest
kept=() # KIND:[NUMBER] of net, mnt and pid
keep() {
	local supervisor init line
	mkfifo "$scratch/ready" "$scratch/holds"
	"$helper" --members kept-1 --backend qemu --starter $$ --ready-fd 3 3>"$scratch/ready" >"$scratch/kept" 2>&1 </dev/null &
	supervisor=$!
	disown
	read -r -t $patience line <"$scratch/ready" && [ "$line" = ready ] || { cat "$scratch/kept"; return 1; }
	init=$(cut -d' ' -f1 "/proc/$supervisor/task/$supervisor/children")
	mapfile -t kept < <(readlink "/proc/$init/ns/net" "/proc/$init/ns/mnt" "/proc/$init/ns/pid")
	sh -c 'cd "/proc/$1/ns" && exec 4<net 5<mnt 6<pid && cd / && echo up >"$2" && exec tail -f /dev/null' _ "$init" "$scratch/holds" >/dev/null 2>&1 &
	holder=$!
	disown
	read -r -t $patience line <"$scratch/holds" && [ "$line" = up ] || return 1
	if [ "$(id -u)" -eq 0 ]; then
		touch "$scratch/place" && mount --bind "/proc/$init/ns/net" "$scratch/place" || return 1
	fi
	"$drover" audit >"$scratch/alive" || { cat "$scratch/alive"; return 1; }
	if [ "$1" = both ]; then kill -9 "$supervisor"; else kill -9 "$init"; fi
	ended "$supervisor" && ended "$init" && rm "$scratch/ready" "$scratch/holds"
}
held_by_descriptor() {
	local namespace
	for namespace in "${kept[@]}"; do
		nobodys namespace kept-1 "${namespace//[\[\]]/.}, held open by tail, pid $holder$" || return 1
	done
}
prune_names_them() {
	local said
	said=$("$drover" prune 2>&1) && return 1
	echo "$said"
	grep -q "held open by tail, pid $holder is still there" <<<"$said" && kill -0 "$holder"
}
let_go() {
	kill "$holder" && ended "$holder"
	[ "$(id -u)" -ne 0 ] || umount "$scratch/place"
}
ok "rm of them" "$drover" rm -f web
for killed in init both; do
	keep "$killed" >"$scratch/keep" 2>&1
	held=$?
	if [ "$held" -ne 0 ] && grep -q 'as root: ' "$scratch/kept"; then
		tap_skip "namespaces that are held when the cluster is killed: $killed" "$(cat "$scratch/kept")"
		rm "$scratch/ready" "$scratch/holds"
		continue
	fi
	tap_result $held "a cluster's namespaces are held when it is killed: $killed" || sed 's/^/# /' "$scratch/keep"
	ok "audit tells each with who holds it open" held_by_descriptor
	if [ "$(id -u)" -eq 0 ]; then
		ok "and where one is mounted" nobodys namespace kept-1 "${kept[0]//[\[\]]/.}, mounted on $scratch/place,"
	fi
	ok "prune names them, and ends nobody who is not drover" prune_names_them
	ok "they are let go" let_go
	"$drover" prune >/dev/null
	ok "then nothing is left of them" nothing_left
done
unseen() {
	[ "$("$drover" audit 2>&1 >/dev/null | grep -c '^note: what other users')" -eq "$1" ]
}
ok "an ordinary user is told what audit cannot see, root has nothing to be told" unseen "$(($(id -u) != 0))"
done_testing
