#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A host that forbids namespaces, that gives few descriptors, whose clocks differ, that was started anew: a clear answer or
# none needed, nothing left, and the next command works. Over the fake backend where a helper is to run.
#   host_limits.sh DROVER HELPER
. "$(dirname "$0")/lib.sh"

skip() { # CLAIM WHY
	n=$((n + 1))
	echo "ok $n - $1 # SKIP $2"
}

# --- EPERM and its like from namespaces: the helper of the real backend says what to change
# refused PATTERN COMMAND...: the command runs the helper, which answers on its ready descriptor and leaves nothing
refused() {
	local pattern=$1 said rc
	shift
	said=$(timeout $patience "$@" "$helper" --members no --ready-fd 1 2>/dev/null </dev/null)
	rc=$?
	echo "exit $rc: $said"
	[ "$rc" -eq 1 ] && tr '\n' ' ' <<<"$said" | grep -Eq -- "^error host_not_ready .*$pattern" && nothing_left
}
# In a user namespace of its own that allows no more of them, as one of its ordinary users.
without_user_namespaces() {
	local holder rc helper=$scratch/drover-helper
	install -m 755 "$DROVER_HELPER" "$helper" && chmod 755 "$scratch" # wherever the tree is, that user reaches it
	unshare -U sh -c 'echo; exec tail -f /dev/null' >"$scratch/ns" &
	holder=$!
	line_comes "$scratch/ns" '^$' "$holder" || return 1
	echo 0 0 65536 >"/proc/$holder/uid_map" && echo 0 0 65536 >"/proc/$holder/gid_map" &&
		refused 'user namespaces are off .* hint as root: sysctl -w user.max_user_namespaces=' \
			nsenter -t "$holder" -U -S 0 -G 0 sh -c 'echo 0 >/proc/sys/user/max_user_namespaces &&
				exec setpriv --reuid=1 --regid=1 --clear-groups env DROVER_HOME=/tmp/drover-no-$$ "$@"' _
	rc=$?
	kill "$holder"
	rm -rf /tmp/drover-no-[0-9]*
	return "$rc"
}
if [ "$(id -u)" -eq 0 ] && unshare -U true 2>/dev/null; then
	ok "EPERM for namespaces is told, with what to run in" refused \
		'Operation not permitted; drover needs .* namespaces hint in a container: use a privileged one' \
		setpriv --bounding-set=-sys_admin
	ok "a host without user namespaces is told, with the command that allows them" without_user_namespaces
else
	skip "EPERM for namespaces is told" "needs root"
	skip "a host without user namespaces is told" "needs root"
fi

# --- little memory, for who asks before anything is tried
poor() {
	sed 's/^MemAvailable:.*/MemAvailable:     307200 kB/' /proc/meminfo >"$scratch/meminfo"
	unshare -m sh -c 'mount --bind "$1" /proc/meminfo && exec "$2" doctor' _ "$scratch/meminfo" "$drover" |
		tr '\n' ' ' | grep -E 'warning +memory +300 MB available.* -> end something, or drover up --mem'
}
if [ "$(id -u)" -eq 0 ]; then
	ok "doctor says that there is too little memory, and what takes less" poor
else
	skip "doctor says that there is too little memory, and what takes less" "needs root"
fi

# --- EMFILE: with every number of descriptors a start works, or says why and leaves nothing
cat >"$scratch/few" <<'END'
#!/bin/sh
exec prlimit --nofile="$FEW:$FEW" "$DROVER_REAL_HELPER" "$@"
END
chmod +x "$scratch/few"
# few FROM TO COMMAND...: with each number FEW from FROM to TO it works, or fails in order; once each at least
few() {
	local said rc to=$2 worked=0 failed=0
	export FEW=$1 DROVER_REAL_HELPER=$helper
	shift 2
	for ((; FEW <= to; FEW++)); do
		said=$(timeout $patience "$@" few -n 2 --backend fake --quiet 2>&1)
		rc=$?
		echo "$FEW descriptors: exit $rc: $said"
		if [ "$rc" -eq 0 ]; then
			worked=$((worked + 1))
		else
			failed=$((failed + 1))
			[ "$rc" -eq 1 ] && grep -q '^drover: ' <<<"$said" || return 1
		fi
		"$drover" rm -f few >/dev/null 2>&1
		nothing_left && [ ! -e "$DROVER_HOME/clusters/few" ] || return 1
	done
	[ "$worked" -gt 0 ] && [ "$failed" -gt 0 ]
}
run_true() { "$drover" run "$@" -- true; }
export -f run_true
export drover
ok "with few descriptors a helper starts, or says why and leaves nothing" \
	few 4 32 env DROVER_HELPER="$scratch/few" "$drover" up
ok "so does one that is bound" few 4 32 env DROVER_HELPER="$scratch/few" bash -c 'run_true "$@"' _
# below 6 the event loop's library aborts
ok "and so do command and helper together" few 6 32 bash -c 'ulimit -n "$FEW" && exec "$drover" up "$@"' _
# 40 connections to a helper that can hold some 20: the others wait for their turn, and it waits for a descriptor, not
# with work.
crowd() {
	FEW=32 DROVER_REAL_HELPER=$helper DROVER_HELPER=$scratch/few up crowd || return 1
	python3 - "$DROVER_HOME"/run/*.sock "$(helper_of crowd crowd)" <<'END' || return 1
import os, select, socket, sys
path, pid = sys.argv[1:3]
def ticks():
    return sum(map(int, open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[11:13]))
peers = []
for _ in range(40):
    s = socket.socket(socket.AF_UNIX)
    s.connect(path)
    peers.append(s)
descriptors = os.listdir(f"/proc/{pid}/fd")
before = ticks()
answered = select.select(peers, [], [], 1)[0]  # the time in which work is measured; nobody asks, so nobody is answered
print(f"{len(descriptors)} descriptors of 32, {ticks() - before} ticks of work in a second without requests")
sys.exit(bool(answered) or ticks() - before > os.sysconf("SC_CLK_TCK") // 4)
END
	"$drover" ls | grep -q '^crowd .*running' && "$drover" rm -f crowd
}
ok "a helper that has no descriptor for a peer does not work in vain, and serves the next" crowd
ok "nothing is left of that" nothing_left

# --- what the caller has open: a script that holds a lock by a descriptor, say
lets_go_of_the_lock() {
	exec 9>"$scratch/lock" && flock 9 && up a
	exec 9>&-
	flock -n "$scratch/lock" true && "$drover" ls a
}
ok "a lock that the caller holds ends with the caller, not with the cluster" lets_go_of_the_lock
ok "rm of it" "$drover" rm -f a

# --- clocks: monotonic and boot time that differ by a year between who starts a cluster and who looks at it
if unshare -T --boottime 31536000 --monotonic 31536000 true 2>/dev/null; then
	other_clock() {
		unshare -T --boottime 31536000 --monotonic 31536000 "$drover" up far --backend fake --quiet &&
			"$drover" ls | grep -q '^far .*running' &&
			unshare -T --boottime 86400 "$drover" ls | grep -q '^far .*running' && "$drover" audit &&
			unshare -T --monotonic 86400 "$drover" rm -f far
	}
	ok "clocks that are a year apart change nothing of who runs" other_clock
	ok "nothing is left of that, either" nothing_left
else
	skip "clocks that are a year apart change nothing of who runs" "no time namespaces"
	skip "nothing is left of that, either" "no time namespaces"
fi

# --- the host was started anew: all processes are gone, all files are there, and the records are of another boot
reboot() {
	local m pid
	up web -n 2 || return 1
	pid=$(helper_of web web-1)
	kill -9 "$pid"
	ended "$pid"
	for m in web-1 web-2; do
		echo "$$ $(awk '{ print $22 }' "/proc/$$/stat") 00000000-0000-4000-8000-000000000000" >"$DROVER_HOME/clusters/web/$m/owner"
		echo -n $$ >"$DROVER_HOME/clusters/web/$m/pid" # whoever has that pid now
	done
	[ "$(find "$DROVER_HOME/run" -type s | wc -l)" -eq 2 ]
}
after_reboot() {
	[ "$("$drover" ls | grep -c '^web-.* stopped')" -eq 2 ] && kill -0 $$
}
ok "all the files that a sudden end of the host leaves" reboot
ok "after it all members are stopped, and whoever has the old pid lives" after_reboot
ok "the next up works" up web -n 2
ok "rm" "$drover" rm -f web
ok "nothing is left at the end" nothing_left
done_testing
