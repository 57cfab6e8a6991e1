#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Beside a start that is under way, and while a helper stands still for ten seconds, with real guests of the image tiny.
cd "$(dirname "$0")" && . ./lib.sh

socket() { echo "$home/run/$(printf %s "$1" | sha256sum | cut -c1-16).sock"; }
helper_of() { pgrep -P "$(pgrep -P "$(cat "$home"/clusters/*/"$1"/pid)" -x drover-init)" -x drover-helper; }
in_guest() { "$DROVER" exec "$1" -- cat /proc/sys/kernel/random/boot_id; }

# begins NAME: an up of it in the background, until it boots
begins() {
	: >"$home/events"
	"$DROVER" events >>"$home/events" 2>&1 &
	local events=$!
	"$DROVER" up "$1" --image tiny >"$home/first" 2>&1 &
	first=$!
	line_comes "$home/events" " $1 .*starting" "$events"
	local began=$?
	kill "$events"
	return "$began"
}
second_waits() {
	begins t-1 || { cat "$home/first" "$home/events"; return 1; }
	"$DROVER" up t-1 --image tiny >"$home/second" 2>&1 || { cat "$home/second"; return 1; }
	"$DROVER" ls t-1 | grep -q '^t-1 .*running' && "$DROVER" exec t-1 -- true || return 1
	cat "$home/second"
	wait "$first" && grep -q 't-1 is being started by another drover' "$home/second" && grep -q 't-1 .*running already' "$home/second"
}
joins() {
	begins t-2 || { cat "$home/first" "$home/events"; return 1; }
	"$DROVER" up t-3 --image tiny || return 1
	wait "$first" || { cat "$home/first"; return 1; }
	"$DROVER" exec t-3 -- ping -c 1 t-2 && "$DROVER" exec t-2 -- ping -c 1 t-3 && "$DROVER" rm -f t-2 t-3
}
# A helper that was started for a cluster without a way out, and asked for its network by somebody who knows nothing of that.
no_way_out() {
	local pid line all
	mkfifo "$home/ready"
	"$DROVER_HELPER" --members n-1 --backend qemu --no-egress --subnet 10.83.77.0/24 --starter $$ --ready-fd 3 3>"$home/ready" >"$home/helper" 2>&1 </dev/null &
	pid=$!
	read -r -t $patience line <"$home/ready" && [ "$line" = ready ] || { cat "$home/helper"; return 1; }
	line=$(python3 -c '
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(float(sys.argv[2]))
s.connect(sys.argv[1])
s.sendall(b"{\"cmd\":\"createnetwork\"}\n")
print(s.recv(4096).decode())' "$(socket n-1)" $patience)
	all=$("$DROVER" audit)
	kill "$pid"
	wait "$pid"
	echo "$line" "$all"
	grep -q 10.83.77.0/24 <<<"$line" && grep -q 'process *n-1 .*dnsmasq' <<<"$all" && ! grep -q 'process *n-1 .*slirp4netns' <<<"$all"
}
# stopped SECONDS: the helper of t-1 stands still so long, with a session, an exec, a stream of events and an ls
stopped() {
	local session helper line late booted rc
	booted=$(in_guest t-1)
	mkfifo "$home/in" "$home/out"
	"$DROVER" exec t-1 -- sh -c 'echo up; exec cat' <"$home/in" >"$home/out" &
	session=$!
	exec 7>"$home/in" 8<"$home/out"
	read -r -t $patience line <&8 && [ "$line" = up ] || return 1
	helper=$(helper_of t-1)
	: >"$home/events"
	"$DROVER" events >>"$home/events" 2>&1 7>&- 8<&- &
	local events=$!
	line_comes "$home/events" 't-1 .*running' "$events" || return 1
	kill -STOP "$helper"
	"$DROVER" exec t-1 -- echo late >"$home/late" 2>&1 7>&- 8<&- &
	late=$!
	timeout $patience "$DROVER" ls >"$home/ls" 2>&1
	rc=$?
	echo still >&7
	read -r -t $patience line <&8 || line=
	timeout "$1" tail -f /dev/null # the time that is the case
	kill -CONT "$helper"
	cat "$home/ls"
	[ "$rc" -eq 0 ] && grep -q '^t-1 ' "$home/ls" && ! grep -Eq '^t-1 .*(stopped|error)' "$home/ls" || return 1
	[ "$line" = still ] || { echo "the open session did not go on: '$line'"; return 1; }
	wait "$late" && grep -qx late "$home/late" || { cat "$home/late"; return 1; }
	exec 7>&-
	wait "$session" || return 1
	exec 8<&-
	[ "$helper" = "$(helper_of t-1)" ] && [ "$booted" = "$(in_guest t-1)" ] && "$DROVER" ls t-1 | grep -q running || return 1
	"$DROVER" up t-2 --image tiny && "$DROVER" exec t-2 -- ping -c 1 t-1 || return 1
	kill "$events"
	cat "$home/events"
	! grep -Eq 't-1 .*(stopped|error|gone|restarted)' "$home/events"
}

ok "image tiny is built or there" "$DROVER" image build tiny
ok "up beside an up that boots the member ends when one can log in" second_waits
ok "up of another member beside an up that boots joins it, and they reach each other" joins
ok "a helper of a cluster without a way out makes none, whoever asks for the network first" no_way_out
ok "a helper that stands still for ten seconds: the guest and its session go on, a new command waits, nothing is told dead" stopped 10
ok "rm" "$DROVER" rm -f t
ok "nothing is left" nothing_left
done_testing
