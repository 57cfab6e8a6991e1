#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A running cluster of two is copied twice, with a TCP connection between its members that goes on in each copy.
cd "$(dirname "$0")" && . ./lib.sh && . ./talk.sh

same_inside() { # name, address, MAC, boot
	local what='hostname; ip -4 addr show eth0 | grep inet; cat /sys/class/net/eth0/address /proc/sys/kernel/random/boot_id'
	diff <(guest "s-$2" "$what") <(guest "$1-$2" "$what")
}
# s-1 sends a million lines to s-2, and a last one when it is told; of what came there /tmp/sum tells when all has come.
sends() {
	guest s-2 'mkfifo /tmp/sum /tmp/open; setsid sh -c "exec 3<>/tmp/open; nc -l -p 5002 <&3 | head -n 1000001 | md5sum >/tmp/got; cat /tmp/got >/tmp/sum" >/dev/null 2>&1 </dev/null &' &&
		listens s-2 5002 &&
		guest s-1 'mkfifo /tmp/last; setsid sh -c "(seq 1 1000000; cat /tmp/last) | nc s-2 5002" >/dev/null 2>&1 </dev/null &'
}
made_since() { # TIME, MEMBER
	local made
	made=$("$DROVER" ls "$2" --json | python3 -c 'import json, sys; print(json.load(sys.stdin)[0]["created_at"])')
	[[ $made == ????-??-??T* && ! $made < $1 ]] || { echo "$2 was made $made, before $1"; return 1; }
}
all_came() { [ "$(guest "$1-1" 'echo last >/tmp/last' && guest "$1-2" "timeout $patience cat /tmp/sum")" = "$({ seq 1 1000000; echo last; } | md5sum)" ]; }
asked() { same_inside s 1 && same_inside s 2; }
forks() {
	local held
	held=$("$DROVER" fork s "$@" 2>/dev/null | tee "$home/forked" | sed -n 's/.*held for \([0-9]*\) ms/\1/p') || return 1
	echo "fork $*: originals held for $held ms" | tee -a "$home/figures"
	quick "$held" 600 # with as much traffic as there can be
}
# What QEMU goes on from, by its descriptors, since it has no name any more; whatever the umask was.
private_memory() { # MEMBER...
	local m pid fd seen
	for m; do
		seen=0
		pid=$(processes | awk -v of="guest=$m" '/ *[0-9]+ qemu-system/ && index($0, of " ") { print $1 }')
		for fd in "/proc/${pid:?}"/fd/*; do
			[[ $(readlink "$fd") == *"/memory (deleted)" ]] || continue
			seen=1
			[ "$(stat -L -c %a "$fd")" = 600 ] || { stat -L "$fd"; return 1; }
		done
		[ "$seen" = 1 ] || { echo "$m has none"; ls -l "/proc/$pid/fd"; return 1; }
	done
}
no_memory_file() { [ -z "$(find "$home/clusters" "$home/captures" -name memory -o -name '*.memory')" ]; }
reclaimed() { "$DROVER" prune && no_memory_file && [ -z "$(find "$home/captures" -mindepth 1 -type d)" ]; }
# A fork whose client is killed as soon as it has made something in the store: the originals run on.
killed_fork() {
	python3 - "$DROVER" "$home/clusters" <<'EOF'
import ctypes, os, signal, subprocess, sys
libc = ctypes.CDLL(None)
fd = libc.inotify_init()
libc.inotify_add_watch(fd, sys.argv[2].encode(), 0x100)  # IN_CREATE: the new cluster's directory
fork = subprocess.Popen([sys.argv[1], "fork", "-q", "s", "k"], stdout=subprocess.DEVNULL)
os.read(fd, 4096)
fork.send_signal(signal.SIGKILL)
fork.wait()
EOF
	! "$DROVER" ls k-1 2>/dev/null && "$DROVER" exec -t "$patience" s-1 -- true && "$DROVER" exec -t "$patience" s-2 -- true
}

umask 0 # what is to be private is made so
ok "image tiny is there" "$DROVER" image build tiny
boots s -n 2 --image tiny --mem 256M --cpus 1
tap_result $? "two members boot"
ok "a connection between them" connect
ok "they have a state" state s-1 before
ok "they are asked for the id of their boot, which the kernel makes then" asked
ok "one sends much to the other" sends
asked_at=$(date -u +%FT%TZ)
ok "two copies are made meanwhile" forks f -n 2
ok "they are as old as they are" made_since "$asked_at" f-2-1
ok "their memory has no name any more" no_memory_file
ok "it is its owner's alone" private_memory f-1-1 f-2-2
ok "the first copy's state is the original's" is_state f-1-1 before
ok "inside it is called the same, with the same address, and did not boot" same_inside f-1 1
ok "its other member too" same_inside f-1 2
ok "the connection goes on in the first copy" carries f-1 two
ok "and in the second, apart from it" carries f-2 three
ok "and in the original" carries s four
for cluster in s f-1 f-2; do
	ok "all that was sent in $cluster has come, once and in order" all_came $cluster
done
ok "a copy's clock is the host's" clock_is_right f-2-2
ok "what the copy changes" state f-1-1 changed
ok "the original does not see" is_state s-1 before
ok "nor does the other copy" is_state f-2-1 before
ok "names resolve in a copy as in the original" guest f-2-1 'ping -c 1 -W 20 s-2'
ok "a copy is copied" "$DROVER" fork -q f-1 g
ok "with its state" is_state g-1 changed
fails "a name that is there is refused" 1 "there is a member 'f-1-1' already" "$DROVER" fork s f-1
fails "more than memory has room for is refused, with figures" 1 "may need [0-9]+ MB of memory, and [0-9]+ MB are available" \
	"$DROVER" fork s many -n 1000
ok "the refused left nothing" bash -c '! find "$0/clusters" -name "many*" | grep .' "$home"
ok "a fork whose client is killed is none, and the originals run on" killed_fork
ok "what it captured is nobody's, and goes" reclaimed
mkdir -p "$home/clusters/k/k-1" && : >"$home/clusters/k/k-1/memory" # as if it had died later
ok "a fork of that name is made all the same" "$DROVER" fork -q s k
ok "with the state" is_state k-1 before
ok "a copy stops" "$DROVER" down f-1
ok "and boots anew under its names" "$DROVER" up f-1-1
ok "which are the original's inside" out_is s-1 "$DROVER" exec f-1-1 -- hostname
sed 's/^/# /' "$home/figures"
ok "rm" "$DROVER" rm -f --all
ok "nothing is left" nothing_left
done_testing
