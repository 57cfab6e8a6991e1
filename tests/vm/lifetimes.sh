#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Bound and detached, kill -9 of everybody, with real guests of the image tiny.
cd "$(dirname "$0")" && . ./lib.sh

helper_pid() { cat "$home/clusters/$1/$2/pid"; }
pids_of() { processes | grep -- "$1" | cut -d' ' -f1; }
vm_pids() { processes | grep qemu-system | cut -d' ' -f1; }

address() { "$DROVER" ls -o json | python3 -c '
import json, sys
print([m["address"] for m in json.load(sys.stdin) if m["name"] == sys.argv[1]][0])' "$1"; }
comes_back() {
	local before
	before=$(address t-1)
	"$DROVER" down t && "$DROVER" up t -n 2 && [ "$(address t-1)" = "$before" ]
}
rejoins() { # a member, one that it ran with
	local before
	before=$(address "$1")
	"$DROVER" down "$1" && "$DROVER" up "$1" && [ "$(address "$1")" = "$before" ] &&
		"$DROVER" exec "$1" -- ping -c 1 -W 20 "$2" && "$DROVER" exec "$2" -- ping -c 1 -W 5 "$1"
}
kill_helper() { # how
	local pid
	pid=$(helper_pid t t-1)
	kill -9 "$pid"
	ended "$pid"
	"$DROVER" ls | grep -q running && { "$DROVER" ls; return 1; }
	nothing_left # what the dead left on disk went with ls
}
kill_vm() {
	local pid
	pid=$(processes | grep qemu-system | grep -- "guest=t-1" | head -n 1 | cut -d' ' -f1)
	[ -n "$pid" ] || { echo "no VM process"; return 1; }
	kill -9 "$pid"
	ended "$pid"
	"$DROVER" exec t-2 -- true && "$DROVER" ls | grep t-1 | grep -Eq 'error|stopped'
}
exec_ends_with_vm() {
	local client pid line rc
	mkfifo "$home/said"
	"$DROVER" exec t-1 -- sh -c 'echo up; exec sleep 1000' >"$home/said" 2>"$home/exec.err" </dev/null &
	client=$!
	read -r line <"$home/said"
	[ "$line" = up ] || return 1
	pid=$(processes | grep qemu-system | grep -- "guest=t-1" | head -n 1 | cut -d' ' -f1)
	kill -9 "$pid"
	wait "$client"
	rc=$?
	cat "$home/exec.err"
	[ "$rc" -ne 0 ] && grep -q t-1 "$home/exec.err"
}
run_and_kill() {
	mkfifo "$home/up"
	"$DROVER" run -n 2 --image tiny --cpus 1 -- sh -c "echo up > $home/up; exec cat" >/dev/null 2>"$home/run.err" < <(exec tail -f /dev/null --pid=$$) &
	local client=$!
	timeout 300 head -n 1 "$home/up" >/dev/null || { cat "$home/run.err"; return 1; }
	[ "$(vm_pids | wc -l)" -eq 2 ] || { echo "$(vm_pids | wc -l) VMs"; return 1; }
	kill -9 "$client"
	nothing_left && [ -z "$("$DROVER" ls -q)" ]
}

ok "image tiny is built or there" "$DROVER" image build tiny
ok "two members boot, detached" "$DROVER" up t -n 2 --image tiny --cpus 1
ok "after down and up a member has its address again" comes_back
ok "a command ends with the VM that it runs in, and its error names it" exec_ends_with_vm
ok "the killed member boots again" "$DROVER" up t-1
ok "a VM that is killed is told, the other runs on" kill_vm
ok "kill -9 of the helper takes the VMs, ls tells the truth and sweeps" kill_helper
ok "the next up works" "$DROVER" up t -n 2
ok "rm of a running cluster" "$DROVER" rm -f t
ok "nothing is left" nothing_left
ok "two members of no common prefix boot" "$DROVER" up ann bob --image tiny --cpus 1
ok "one that was stopped joins the other again, with its address: each reaches the other by name" rejoins ann bob
ok "both are removed" "$DROVER" rm -f ann bob
ok "nothing is left of them" nothing_left
ok "run gives its command the members, and everything dies with it" \
	"$DROVER" run -n 1 --image tiny --cpus 1 -- sh -c 'test -n "$DROVER_MEMBERS"'
ok "nothing is left of run" nothing_left
fails "run passes the exit status on" 9 '' "$DROVER" run -n 1 --image tiny --cpus 1 -- sh -c 'exit 9'
ok "kill -9 of run takes the cluster with it" run_and_kill
done_testing
