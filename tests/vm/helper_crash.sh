#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# kill -9 of a detached cluster's helper, with real guests of the image tiny: they run on, and its init starts another.
cd "$(dirname "$0")" && . ./lib.sh

socket() { echo "$home/run/$(printf %s "$1" | sha256sum | cut -c1-16).sock"; }
init_of() { pgrep -P "$(cat "$home"/clusters/*/"$1"/pid)" -x drover-init; }
helper_of() { pgrep -P "$(init_of "$1")" -x drover-helper; }

# ask MEMBER REQUEST [STOP]: prints the lines that come, up to the one with STOP in it (default: the first)
ask() {
	python3 -c '
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(120)
s.connect(sys.argv[1])
s.sendall(sys.argv[2].encode() + b"\n")
for line in s.makefile():
    print(line, end="", flush=True)
    if sys.argv[3] in line:
        break' "$(socket "$1")" "$2" "${3-}"
}

kill_helper() {
	local pid
	pid=$(helper_of "$1") && kill -9 "$pid" && ended "$pid"
}
in_guest() { "$DROVER" exec "$1" -- cat "$2"; }
session_goes_on() {
	local client line rc
	mkfifo "$home/in" "$home/out"
	"$DROVER" exec t-1 -- sh -c 'echo up; exec cat' <"$home/in" >"$home/out" &
	client=$!
	exec 7>"$home/in" 8<"$home/out"
	read -r -t $patience line <&8 && [ "$line" = up ] || return 1
	booted=$(in_guest t-1 /proc/sys/kernel/random/boot_id) uptime=$(in_guest t-1 /proc/uptime)
	kill_helper t-1 || return 1
	echo still >&7
	exec 7>&-
	read -r -t $patience line <&8
	wait "$client"
	rc=$?
	[ "$line" = still ] && [ "$rc" -eq 0 ] || { echo "exec ended with $rc after '$line'"; return 1; }
}
# audit_tells MEMBER KIND...: there is one of each kind, whose owner is the supervisor, and nothing is nobody's
audit_tells() {
	local all kind pid
	pid=$(cat "$home"/clusters/*/"$1"/pid)
	all=$("$DROVER" audit) || { echo "$all"; return 1; }
	for kind in "${@:2}"; do
		grep -Eq "^$kind +$1 +$pid +" <<<"$all" || { echo "no $kind: $all"; return 1; }
	done
}
both_run() { [ "$("$DROVER" ls | grep -c ' running ')" -eq 2 ] || { "$DROVER" ls; return 1; }; }
runs_on() {
	local now
	now=$(in_guest t-1 /proc/uptime)
	[ "$(in_guest t-1 /proc/sys/kernel/random/boot_id)" = "$booted" ] &&
		awk -v a="${uptime%% *}" -v b="${now%% *}" 'BEGIN { exit !(b > a) }' || { echo "$uptime, then $now"; return 1; }
}
watch_tells() { ask t-1 '{"cmd":"watch"}' | tee /dev/stderr | grep -q '"event":"restarted","restarts":1,"reason":"signal 9'; }
reaches_others() { "$DROVER" exec t-2 -- ping -c 1 t-1; }
pause_of() {
	python3 - "$(socket t-1)" "$(helper_of t-1)" <<-'EOF'
		import os, signal, socket, sys, time
		start = time.monotonic()
		os.kill(int(sys.argv[2]), signal.SIGKILL)
		s = socket.socket(socket.AF_UNIX)
		s.connect(sys.argv[1])
		s.sendall(b'{"cmd":"status"}\n')
		assert b'"running"' in s.recv(4096)
		print(f"# from kill -9 to the next helper's answer: {1000 * (time.monotonic() - start):.0f} ms", file=sys.stderr)
	EOF
}
launcher_of() { pgrep -P "$(init_of "$1"),$(cat "$home"/clusters/*/"$1"/pid)" -x drover-egress; }
way_out() { "$DROVER" exec "$1" -- ping -c 1 -W 20 10.0.2.2; } # slirp4netns itself answers there
kill_launcher() {
	local launcher slirp follow said
	launcher=$(launcher_of t-1) && slirp=$(pgrep -P "$launcher" -x slirp4netns) && way_out t-1 || return 1
	exec 6< <(exec "$DROVER" logs --helper --follow t-1)
	follow=$!
	kill -9 "$launcher" && ended "$slirp" && timeout $patience grep -q 'slirp4netns was started again' <&6
	said=$?
	kill "$follow"
	exec 6<&-
	[ "$said" -eq 0 ] && [ "$(launcher_of t-1)" != "$launcher" ] && way_out t-1
}
third_time() { # on a slow host the first was more than a minute ago: then one or two more are needed
	local i pid
	for i in 1 2 3; do
		pid=$(helper_of t-1) && kill -9 "$pid" && ended "$pid" || return 1
		ask t-1 '{"cmd":"status"}' | grep -q . || break # what its successor answers
	done 2>/dev/null
	nothing_left # pidfiles and sockets too
}
says_why() { "$DROVER" ls | grep -c 'error' | grep -qx 2 && "$DROVER" ls -o json | grep -q 'crashed 3 times within a minute, the last time by signal 9'; }
log_says_why() { "$DROVER" logs --helper t-1 | grep -q 'crashed 3 times within a minute'; }
crash_in_boot() {
	local line killed=1
	while read -r -t $patience line; do
		echo "$line"
		case $line in
		*stage=start\ *) kill_helper b && killed=0 ;;
		"exit 0") return "$killed" ;;
		esac
	done < <("$DROVER" up b --image tiny --cpus 1 2>&1; echo "exit $?")
	return 1
}
saved_and_copied() {
	"$DROVER" snapshot save b clean && "$DROVER" fork b c && "$DROVER" exec c -- true &&
		"$DROVER" reset b clean && "$DROVER" exec b -- true && "$DROVER" rm -f c
}
crash_in_stop() { # QEMU stands still until the helper is killed, or the stop might be over before
	local down line qemu killed
	qemu=$(processes | awk '/qemu-system/ && /guest=b / { print $1 }') && kill -STOP "$qemu" || return 1
	exec 9< <(ask b '{"cmd":"watch"}' stopping)
	read -r line <&9 # it watches
	"$DROVER" down b &
	down=$!
	grep -q stopping <&9 && kill_helper b
	killed=$?
	kill -CONT "$qemu"
	wait "$down" && [ "$killed" -eq 0 ] && "$DROVER" ls | grep -q 'b .*stopped' && nothing_left &&
		"$DROVER" logs --helper b | grep -q 'exitfd event' # the way out was told, not killed after a while
}
vm_dies_unseen() {
	local pid
	"$DROVER" up b --image tiny --cpus 1 || return 1
	pid=$(processes | grep qemu-system | grep -- "guest=b" | head -n 1 | cut -d' ' -f1)
	kill -STOP "$(init_of b)" && kill -9 "$(helper_of b)" "$pid" && kill -CONT "$(init_of b)"
	ended "$pid"
	nothing_left && "$DROVER" ls -o json | grep "b's qemu ended with signal 9" || { "$DROVER" ls -o json; "$DROVER" logs --helper b; return 1; }
}

ok "image tiny is built or there" "$DROVER" image build tiny
ok "two members boot, detached" "$DROVER" up t -n 2 --image tiny --cpus 1
ok "audit tells each thing of it with its owner" audit_tells t-1 process namespace interface mount lock pidfile socket directory
session_goes_on >"$home/said" 2>&1 # not in a subshell: it remembers what the guest said
tap_result $? "a session that was open when the helper was killed goes on" || sed 's/^/# /' "$home/said"
ok "both members run" both_run
ok "the guest did not notice: its uptime goes on" runs_on
ok "watch tells that the helper was restarted, and why" watch_tells
ok "members reach each other by name" reaches_others
ok "kill -9 of the egress launcher: another starts slirp4netns, and there is a way out" kill_launcher
pause_of
tap_result $? "a request that comes while there is no helper is answered by the next"
ok "the launcher of the crashed helper goes on, with its way out" way_out t-1
ok "after the third crash within a minute everything goes" third_time
ok "ls says why, of each member" says_why
ok "logs --helper says why" log_says_why
ok "rm removes what is left" "$DROVER" rm -f t
ok "up is not disturbed by a crash in the boot" crash_in_boot
ok "the member is reached" "$DROVER" exec b -- true
ok "it is saved, copied and put back like any other" saved_and_copied
ok "down is not disturbed by a crash in the stop, and nothing is left" crash_in_stop
ok "a VM that dies while there is no helper is told with its signal" vm_dies_unseen
ok "nothing is left" nothing_left
done_testing
