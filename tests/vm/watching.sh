#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Waiting for a member, hearing what it does, seeing what it uses, and the ends of what leads to it; with a real guest.
cd "$(dirname "$0")" && . ./lib.sh

# meanwhile COMMAND WAIT...: the wait ends because the guest runs the command, which begins after it
meanwhile() {
	local command=$1
	shift
	"$DROVER" wait w-1 -t "$patience" "$@" &
	"$DROVER" exec w-1 -- sh -c "$command" </dev/null && wait $!
}
port_opens() {
	! "$DROVER" wait w-1 --port 81 -t 1 2>"$home/said" && grep -q "port 81 of w-1 was not open in time" "$home/said" &&
		meanwhile 'nc -l -p 81 >/dev/null 2>&1 </dev/null &' --port 81
}
console_says() {
	meanwhile 'echo the answer is $((6*7)) >/dev/console' --console '^the answer is [0-9]{2}$'
}
command_succeeds() {
	meanwhile 'touch /tmp/there' --command 'test -e /tmp/there'
}
figure() { # FIELD
	"$DROVER" stats --json w-1 | python3 -c 'import json, sys; print(json.load(sys.stdin)[0][sys.argv[1]])' "$1"
}
plausible() {
	local before after
	before=$(figure cpu_ms)
	"$DROVER" exec w-1 -- sh -c 'i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done' || return 1
	after=$(figure cpu_ms)
	echo "cpu $before to $after, memory $(figure memory_bytes), net $(figure net_received_bytes) $(figure net_sent_bytes)"
	[ "$before" -gt 100 ] && [ "$after" -gt "$before" ] && [ "$after" -lt 600000 ] &&
		[ "$(figure memory_bytes)" -gt $((32 << 20)) ] && [ "$(figure memory_bytes)" -lt $((2 << 30)) ] &&
		[ "$(figure net_received_bytes)" -gt 1000 ] && [ "$(figure net_sent_bytes)" -gt 1000 ]
}
top_shows_it() { # in a terminal of its own: figures of a real guest
	python3 - "$DROVER" <<-'PY'
	import os, pty, re, select, sys, time
	pid, master = pty.fork()
	if pid == 0:
	    os.environ["TERM"] = "xterm"
	    os.execv(sys.argv[1], [sys.argv[1], "top", "w"])
	out, end = b"", time.monotonic() + 120
	row = rb"w-1 +running +10\.\d+\.\d+\.2 +\d+% +\d+M +\S+/s +\S+/s +\S+/s +\S+/s\x1b"
	while not re.search(row, out) and select.select([master], [], [], end - time.monotonic())[0]:
	    out += os.read(master, 65536)
	print(out.rsplit(b"\x1b[H", 1)[-1])
	os.write(master, b"q")
	while not out.endswith(b"\x1b[?1049l") and select.select([master], [], [], 120)[0]:
	    out += os.read(master, 65536)
	sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) or not re.search(row, out))
	PY
}
host_program_inside() {
	local resolver
	resolver=$(cat /etc/resolv.conf)
	"$DROVER" net exec w -- busybox ping -c 1 -W 10 w-1 || return 1
	"$DROVER" net exec w-1 -- grep -q '^nameserver 10\.' /etc/resolv.conf || return 1
	[ "$(cat /etc/resolv.conf)" = "$resolver" ] || { echo "the host's resolv.conf has changed"; return 1; }
	"$DROVER" net exec w -- sh -c 'exit 7'
	[ $? -eq 7 ]
}
outlives_a_helper() { # a session over ssh, when the helper is killed and another takes over
	local line client helper
	mkfifo "$home/to-ssh" "$home/from-ssh"
	"$DROVER" ssh w-1 -- 'echo up; exec cat' <"$home/to-ssh" >"$home/from-ssh" 2>"$home/said" &
	client=$!
	exec 7>"$home/to-ssh" 8<"$home/from-ssh"
	read -r -t $patience line <&8 && [ "$line" = up ] || return 1
	helper=$(pgrep -P "$(pgrep -P "$(cat "$home/clusters/w/w-1/pid")" -x drover-init)" -x drover-helper)
	kill -9 "$helper" && ended "$helper" || return 1
	"$DROVER" wait w-1 --command true -t "$patience" || return 1
	echo still >&7
	exec 7>&-
	read -r -t $patience line <&8 && [ "$line" = still ] && wait "$client"
}
begins_in_network() { # a program of the host that has started another, which need not be `sleep` yet: all that have its number
	"$DROVER" net exec w -- sh -c 'sleep "$0" & echo up; wait' "86$$" >"$home/inside" 2>&1 &
	inside=$!
	line_comes "$home/inside" up "$inside" && sleepers=$(pgrep -f " 86$$\$")
}
ends_with_the_network() {
	local status=0
	# shellcheck disable=SC2086
	ended "$inside" $sleepers || { kill "$inside"; return 1; }
	wait "$inside" || status=$?
	[ "$status" -eq 137 ]
}
ssh_ends_with_its_guest() { # for which the connection just falls silent
	local status=0
	"$DROVER" ssh w-1 -- 'echo up; sleep 600' >"$home/ssh" 2>"$home/said" &
	local ssh=$!
	line_comes "$home/ssh" up "$ssh" || return 1
	"$DROVER" kill w-1 || return 1
	ended "$ssh" || { kill "$ssh"; return 1; }
	wait "$ssh" || status=$?
	[ "$status" -eq 255 ] && grep -q "member w-1 is not running any more" "$home/said"
}
events_told() {
	kill -TERM "$listener"
	wait "$listener"
	python3 - "$home/events" <<-'PY'
	import json, sys
	seen = [json.loads(line) for line in open(sys.argv[1])]
	short = [(e["event"], e.get("state") or e.get("stage") or "") for e in seen if e["member"] == "w-1"]
	print(short)
	order = [("state", "starting"), ("stage", "booting"), ("address", ""), ("state", "running"), ("state", "stopping"), ("gone", "")]
	assert list(dict.fromkeys(s for s in short if s in order)) == order and short[0] == order[0]
	address = [e["address"] for e in seen if e["event"] == "address"]
	assert len(address) == 1 and address[0].startswith("10."), address
	boot = [e["time_ms"] for e in seen if e.get("state") == "running"][0] - seen[0]["time_ms"]
	assert 100 < boot < 600000, boot
	restarted = [e["message"] for e in seen if e["event"] == "restarted"]
	assert len(restarted) == 1 and "signal 9" in restarted[0], restarted
	PY
}

ok "image tiny is built or there" "$DROVER" image build tiny
"$DROVER" events --json w >"$home/events" &
listener=$!
ok "a member boots" "$DROVER" up w-1 --image tiny --mem 256M --cpus 1
ok "wait --port 22: open already" out_is "w-1: port 22 is open" "$DROVER" wait w-1 --port 22
ok "wait --port: not in time, then when it opens" port_opens
ok "wait --console: a line from before" "$DROVER" wait w --console '^BusyBox v[0-9.]+ ' -t "$patience"
ok "wait --console: a line to come" console_says
ok "wait --command: tried until it succeeds" command_succeeds
ok "stats: CPU time grows with work, memory and network are plausible" plausible
ok "top shows it with figures, and ends by q" top_shows_it
ok "net exec: a program of the host pings the guest by name; the host's files stay as they are" host_program_inside
fails "net exec says what it cannot run" 127 "cannot run 'no-such-program'" "$DROVER" net exec w -- no-such-program
outlives_a_helper >"$home/outlives" 2>&1
tap_result $? "ssh goes on when a helper crashes and another takes over" || sed 's/^/# /' "$home/outlives" "$home/said"
begins_in_network
tap_result $? "net exec goes on as long as its program"
ok "ssh ends at once when its guest is killed" ssh_ends_with_its_guest
ends_with_the_network
tap_result $? "net exec, and what its program has started, end with the cluster"
ok "events told each step of its life" events_told
ok "doctor finds nothing missing where guests run" "$DROVER" doctor
ok "rm of it" "$DROVER" rm -f w
ok "nothing is left" nothing_left
done_testing
