#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# kill -9 of QEMU while a point is saved over an older one: the older one or the new one is there, whole. Of the helper: the
# guest, which is held then, runs on.
cd "$(dirname "$0")" && . ./lib.sh
set -o pipefail

guest() { "$DROVER" exec s-1 -- sh -c "$1"; }
state() { guest "echo $1 >/dev/shm/state"; }
qemu() { processes | grep 'points\.qcow2' | cut -d' ' -f1; }
helper() { pgrep -P "$(pgrep -P "$(cat "$home/clusters/s/s-1/pid")" -x drover-init)" -x drover-helper; }
# save_writing N PID: saves; at the Nth write to the file of points, PID is killed (N 0: never). Prints how many there were.
save_writing() {
	python3 - "$DROVER" "$home/clusters/s/s-1/points.qcow2" "$1" "$2" <<'EOF'
import ctypes, os, selectors, signal, subprocess, sys
drover, path, limit, victim = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
libc = ctypes.CDLL(None)
fd = libc.inotify_init()
libc.inotify_add_watch(fd, path.encode(), 0x2)  # IN_MODIFY; equal events in a row count as one
save = subprocess.Popen([drover, "snapshot", "save", "s", "clean"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
end = os.pidfd_open(save.pid)
s = selectors.DefaultSelector()
s.register(fd, selectors.EVENT_READ)
s.register(end, selectors.EVENT_READ)
writes, over = 0, False
while not over:
    ready = [key.fd for key, _ in s.select()]
    if fd in ready:
        writes += len(os.read(fd, 4096)) // 16
        if limit and writes >= limit:
            os.kill(victim, signal.SIGKILL)
            break
    over = end in ready
save.wait()
print(writes)
EOF
}
crash_at() { # the share of the writes, in percent, after which QEMU dies
	state "new-$1" && save_writing $((writes * $1 / 100 + 1)) "$(qemu)" >/dev/null && "$DROVER" up -q s-1
}
helper_crash() {
	save_writing $((writes / 2 + 1)) "$(helper)" >/dev/null
	"$DROVER" wait s-1 --port 22 --timeout "$patience" && guest true && "$DROVER" snapshot save s-1 clean && "$DROVER" reset s-1 clean
}
# ask_frozen: QEMU stands still, as if it were still saving, while the helper is killed and the next one is asked for what it
# cannot know yet. One of those who ask hangs up before QEMU goes on.
ask_frozen() {
	python3 - "$home/run/$(printf %s s-1 | sha256sum | cut -c1-16).sock" "$patience" "$(qemu)" "$(helper)" <<'EOF'
import json, os, signal, socket, sys
path, patience, qemu, helper = sys.argv[1], *map(int, sys.argv[2:])
def ask(**request):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(patience)
    s.connect(path)
    s.sendall(json.dumps(request).encode() + b"\n")
    return s
def told(s):
    return json.loads(s.makefile().readline())
os.kill(qemu, signal.SIGSTOP)
os.kill(helper, signal.SIGKILL)
gone = ask(cmd="save", point="gone")
save, stats, dial = ask(cmd="save", point="late"), ask(cmd="stats"), ask(cmd="dial", port=22)
state = told(ask(cmd="status"))["status"]["state"]  # heard after all of these
gone.close()
os.kill(qemu, signal.SIGCONT)
replies = [told(s) for s in (save, stats, dial)]
print(state, replies)
assert state == "running" and "held_ms" in replies[0] and not any("error" in r for r in replies), "one was refused"
assert [row["name"] for row in replies[1]["stats"]["members"]] == ["s-1"], "its figures are not there"
EOF
}
is_whole() {
	local is
	"$DROVER" reset s-1 clean && is=$(guest 'cat /dev/shm/state') || return 1
	[ "$is" = "$(cat "$home/last")" ] || [ "$is" = "new-$1" ] || { echo "state '$is'"; return 1; }
	echo "$is" >"$home/last"
}

ok "image tiny is there" "$DROVER" image build tiny
ok "a member boots" "$DROVER" up s-1 --image tiny --mem 256M --cpus 1
ok "it has a state" state before
ok "which is saved" "$DROVER" snapshot save s-1 clean
state whole
writes=$(save_writing 0 "$$")
echo "# a save is $writes writes, as far as they can be told apart"
ok "a save over it is whole" out_is clean "$DROVER" snapshot ls -q s-1
echo whole >"$home/last"
for share in 10 90; do
	ok "QEMU is killed at $share % of the next save, and the member boots anew" crash_at $share
	ok "a point is there, and it is the older one or the new one" is_whole $share
done
ok "the helper is killed in the next save, and the guest that it held runs on" helper_crash
ok "the helper is killed while QEMU is silent: a save, stats and a connection asked then wait for it" ask_frozen
ok "the save of who hung up was not made" out_is "clean late" eval '"$DROVER" snapshot ls -q s-1 | sort | xargs'
ok "the guest runs" guest true
ok "rm" "$DROVER" rm -f s-1
ok "nothing is left" nothing_left
done_testing
