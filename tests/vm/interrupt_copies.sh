#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Ctrl-C at several moments of save, reset, fork, export and import: exit status 130, nothing of it is left, the members of the
# original run on, and the same command works at once.
cd "$(dirname "$0")" && . ./lib.sh

# interrupted SECONDS COMMAND...: in a process group of its own, which gets SIGINT after so long, as from a terminal, and again
# when the command has not ended at once. 10: it was done by then.
interrupted() {
	python3 - "$@" <<'EOF'
import os, select, signal, subprocess, sys
p = subprocess.Popen(sys.argv[2:], start_new_session=True, stdin=subprocess.DEVNULL,
                     preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
end = os.pidfd_open(p.pid)
for wait in (float(sys.argv[1]), 0.02):
    if not select.select([end], [], [], wait)[0]:
        os.killpg(p.pid, signal.SIGINT)
status = p.wait()
sys.exit(10 if status == 0 else 0 if status in (130, -signal.SIGINT) else f"it ended with {status}")
EOF
}
seconds() {
	local began=$EPOCHREALTIME
	"$@" >/dev/null || return 1
	awk "BEGIN { print $EPOCHREALTIME - $began }"
}
# Nothing but the original is in the store, and no file of an export.
is_clean() {
	local left
	left=$(find "$home/captures" -mindepth 1 -not -name .lock; find "$home/clusters" -mindepth 1 -maxdepth 1 -not -name s
		find "$home" -maxdepth 1 -name 'out*')
	[ -z "$left" ] || { echo "left: $left"; return 1; }
}
goes_on() {
	[ "$("$DROVER" ls --json s | jq -r '.[].state' | sort -u)" = running ] || { "$DROVER" ls; return 1; }
	"$DROVER" exec -t "$patience" s-1 -- true && "$DROVER" exec -t "$patience" s-2 -- true || return 1
	"$DROVER" audit >"$home/audit" || { cat "$home/audit"; return 1; }
}
# What the command made is removed again.
undo() {
	rm -f "$home/out"
	[ ! -d "$home/clusters/f" ] || "$DROVER" rm -f f
}
interrupt_at() { # SECONDS COMMAND...
	local rc=0
	interrupted "$@" || rc=$?
	case $rc in
		0) is_clean ;;
		10) undo ;;
		*) return 1 ;;
	esac && shift && "$@" && undo && is_clean && goes_on
}
# sweep MOMENTS COMMAND...: at so many moments of the time that the command takes.
sweep() {
	local moments=$1 takes i
	shift
	takes=$(seconds "$@") && undo || return 1
	for ((i = 1; i <= moments; i++)); do
		interrupt_at "$(awk "BEGIN { print $takes * $i / ($moments + 1) }")" "$@" || { echo "moment $i of $moments"; return 1; }
	done
}
# at_capture COMMAND...: SIGINT as soon as there is a directory for what is captured.
at_capture() {
	python3 - "$home/captures" "$@" <<'EOF' && is_clean && goes_on
import ctypes, os, signal, subprocess, sys
libc = ctypes.CDLL(None)
fd = libc.inotify_init()
libc.inotify_add_watch(fd, sys.argv[1].encode(), 0x40000100)  # IN_CREATE of a directory
p = subprocess.Popen(sys.argv[2:], stdin=subprocess.DEVNULL, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
os.read(fd, 4096)
p.send_signal(signal.SIGINT)
status = p.wait()
sys.exit(0 if status == 130 else f"ended with {status}")
EOF
}
# An export ends soon although a guest, of which it asks something, has stopped answering.
hung() {
	local guest rc=0
	guest=$(processes | grep 'guest=s-2[, ]' | cut -d' ' -f1)
	kill -STOP "$guest" || return 1
	python3 - "$DROVER" "$home/captures" "$home/out" <<'EOF' || rc=1
import ctypes, os, signal, subprocess, sys
libc = ctypes.CDLL(None)
fd = libc.inotify_init()
libc.inotify_add_watch(fd, sys.argv[2].encode(), 0x40000100)  # IN_CREATE of a directory: the capture's
export = subprocess.Popen([sys.argv[1], "snapshot", "export", "s", sys.argv[3]],
                          preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
name = os.read(fd, 4096)[16:].split(b"\0")[0]
libc.inotify_add_watch(fd, os.path.join(sys.argv[2].encode(), name), 0x100)  # IN_CREATE
while not os.path.exists(os.path.join(sys.argv[2].encode(), name, b"login_key.pub")):
    os.read(fd, 4096)
export.send_signal(signal.SIGINT)  # s-1 is asked, or s-2, which does not answer; and then both, to put the key out
try:
    status = export.wait(8)
except subprocess.TimeoutExpired:
    export.kill()
    status = "no end within 8 s"
sys.exit(0 if status == 130 else f"ended with {status}")
EOF
	kill -CONT "$guest"
	[ "$rc" -eq 0 ] && is_clean && goes_on
}

ok "image tiny is there" "$DROVER" image build tiny
ok "two members boot" "$DROVER" up -q s -n 2 --image tiny --mem 256M --cpus 1
ok "a point" "$DROVER" snapshot save s p
ok "a file" "$DROVER" snapshot export s "$home/s.drover"
ok "Ctrl-C in save" sweep 3 "$DROVER" snapshot save s p
ok "Ctrl-C in reset" sweep 3 "$DROVER" reset s p
ok "Ctrl-C in fork" sweep 2 "$DROVER" fork -q s f
ok "Ctrl-C in export" sweep 2 "$DROVER" snapshot export s "$home/out"
ok "Ctrl-C in import" sweep 1 "$DROVER" snapshot import -q "$home/s.drover" f
ok "Ctrl-C in run --from while it copies" at_capture "$DROVER" run --from s -q -- true
ok "Ctrl-C in an export whose guest hangs" hung
ok "rm" "$DROVER" rm -f s
ok "nothing is left" nothing_left
done_testing
