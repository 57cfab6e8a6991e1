#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Guests that end before they are ready: the start fails when they do, not when its time is over.
cd "$(dirname "$0")" && . ./lib.sh

for image in tiny debian-12; do
	"$DROVER" image build "$image" >/dev/null 2>&1
done
# The initial file system of tiny, with another init, which is what stdin has.
initrd_with_init() { # FILE
	mkdir -p "$home/root"
	cat >"$home/root/init"
	chmod 755 "$home/root/init"
	{ cat "$DROVER_IMAGE_CACHE/tiny/initrd.img"; (cd "$home/root" && echo init | cpio --quiet -o -H newc -R 0:0); } >"$1"
}
# What a start says of itself is kept in $home/said. Its own time is ten minutes, this script's less.
up_fails() { # CLAIM PATTERN ARGS...
	local claim=$1 pattern=$2
	shift 2
	"$DROVER" up "$@" >"$home/out" 2>"$home/said"
	echo "exit $?" >>"$home/said"
	ok "$claim" said "$pattern"
}
said() { grep -Eq -- "^drover: .*$1" "$home/said" && grep -qx "exit 1" "$home/said" || { cat "$home/said"; return 1; }; }
hinted() { sed -n 's/^hint: what the guest said is in //p' "$home/said"; }

for image in tiny debian-12; do
	up_fails "$image: a kernel that finds no root is told with its own words" \
		"the guest's kernel panicked: Kernel panic - not syncing: VFS: Unable to mount root fs" \
		p-1 --image "$image" --append rdinit=/nowhere
	ok "$image: the file that is named has the kernel's trace" grep -q 'Call Trace' "$(hinted)"
	ok "$image: the member that was made for it is gone" eval '! "$DROVER" ls p-1 2>/dev/null'
	ok "$image: and so are its processes" nothing_left
done

up_fails "debian-12: an init that is not there is told" \
	"Kernel panic - not syncing: Attempted to kill init" p-1 --image debian-12 --append init=/nowhere
up_fails "a kernel that reboots by its panic is told at the first one" \
	"Kernel panic - not syncing: VFS" p-1 --image tiny --cpus 1 --append "rdinit=/nowhere panic=-1"
ok "nothing is left" nothing_left

initrd_with_init "$home/off.img" <<'INIT'
#!/bin/sh
echo "init: nothing to do"
poweroff -f
INIT
up_fails "a guest that powers itself off is told, with what it said" \
	"powered itself off before it was ready; the console's last: .*init: nothing to do" \
	p-1 --image tiny --cpus 1 --initrd "$home/off.img"
initrd_with_init "$home/again.img" <<'INIT'
#!/bin/sh
echo "init: once more"
reboot -f
INIT
up_fails "one that resets itself again and again is given up" \
	"reset itself 3 times and was not ready; the console's last: .*init: once more" \
	p-1 --image tiny --cpus 1 --initrd "$home/again.img"
initrd_with_init "$home/shell.img" <<'INIT'
#!/bin/sh
echo "ALERT!  PARTUUID=nowhere does not exist.  Dropping to a shell!"
exec sh
INIT
up_fails "one that finds no root file system and drops to a shell is told, with what it said" \
	"found no root file system and sits in a shell; the console's last: .*PARTUUID=nowhere does not exist" \
	p-1 --image tiny --cpus 1 --initrd "$home/shell.img"
ok "nothing is left of them" nothing_left
ok "a log of a start that failed is there still, and goes with a prune" \
	eval 'ls "$home"/console-*.log && rm -f "$home/said" && "$DROVER" prune && ! ls "$home"/console-*.log'

ok "a member that has run" "$DROVER" up p-1 --image tiny --cpus 1
ok "is stopped" "$DROVER" down p-1
up_fails "a kernel's panic at its next boot is told" "Kernel panic - not syncing: VFS" p-1 --append rdinit=/nowhere
ok "with the console's log, which stays with the member" \
	eval '[ "$(hinted)" = "$home/clusters/p/p-1/serial.log" ] && grep -q "Call Trace" "$(hinted)"'
ok "ls says that it is in error" eval '"$DROVER" ls p-1 | grep -q "^p-1 *error"'
ok "and in JSON why" eval '"$DROVER" ls --json p-1 | grep -q "kernel panicked: Kernel panic - not syncing: VFS"'
ok "which is of this boot alone, the boot before is kept beside it" \
	eval '"$DROVER" logs --previous p-1 | grep -q BusyBox && ! "$DROVER" logs p-1 | grep -q BusyBox'
mkdir -p "$home/none" && printf '#!/bin/sh\nexit 3\n' >"$home/none/qemu-system-x86_64" && chmod 755 "$home/none/qemu-system-x86_64"
PATH=$home/none:$PATH up_fails "a start in which the guest said nothing fails" "p-1" p-1
ok "and names no file of an earlier one" eval '[ -z "$(hinted)" ]'
ok "with another command line it runs" "$DROVER" up p-1 --append image
ok "words like these that a guest prints once it is ready change nothing" \
	"$DROVER" exec p-1 -- sh -c 'echo "Kernel panic - not syncing: no" >/dev/ttyS0'
ok "it goes on" eval '[ "$("$DROVER" exec p-1 -- echo here)" = here ]'
crash='echo c >/proc/sysrq-trigger'
panicked='p-1: its kernel panicked: Kernel panic - not syncing: sysrq'
"$DROVER" events p-1 >"$home/events" 2>&1 &
events=$!
timeout $patience "$DROVER" ssh p-1 'echo in; exec sleep 600' >"$home/ssh" 2>&1 </dev/null &
ssh=$!
ok "a session is open" line_comes "$home/ssh" in "$ssh"
fails "a command whose guest's kernel panics ends with the kernel's line" 1 "^drover: $panicked" \
	timeout $patience "$DROVER" exec p-1 -- sh -c "$crash"
wait "$ssh"
ok "and so does an open session" grep -q "^drover: $panicked" "$home/ssh"
ok "events tell so" line_comes "$home/events" 'p-1  *panic: Kernel panic - not syncing: sysrq' "$events"
kill "$events"
fails "a command that comes later is told, too" 1 "^drover: $panicked" timeout $patience "$DROVER" exec p-1 true
ok "ls tells so of the member that runs" \
	eval '"$DROVER" ls p-1 2>&1 | grep -q "^drover: $panicked"'
ok "and in JSON" \
	eval '"$DROVER" ls --json p-1 | grep -Eq "\"message\": ?\"its kernel panicked: Kernel panic - not syncing: sysrq"'
timeout 300 "$DROVER" logs -f p-1 >"$home/followed" &
followed=$!
ok "a restart mends it" "$DROVER" restart p-1 --quiet
ok "which who follows the log sees, too" line_comes "$home/followed" "BusyBox v" "$followed" 2
# Who listens in the guest answers nobody any more, and once a second connection is there the guest resets itself.
# shellcheck disable=SC2016
mute='kill -STOP $(awk "{print \$4}" /proc/$PPID/stat); echo muted
until [ $(cat /proc/net/tcp /proc/net/tcp6 | grep -c ":0016 .* 01 ") -ge 2 ]; do :; done; echo b >/proc/sysrq-trigger'
mutes() {
	: >"$home/mute" # not what the one before has said
	timeout $patience "$DROVER" exec p-1 -- sh -c "$mute" >>"$home/mute" 2>&1 &
	line_comes "$home/mute" muted $!
}
ok "a member takes connections and answers none of them" mutes
fails "a login that waits for an answer ends when the guest resets itself" 1 "^drover: p-1 has reset itself" \
	timeout $patience "$DROVER" exec p-1 true
ok "wait -c goes on until the guest is there again" "$DROVER" wait -t "$patience" p-1 -c true
ok "once more it answers none" mutes
ok "wait -c goes on also after a login that the reset has cut" "$DROVER" wait -t "$patience" p-1 -c true
# Who reads from a connection that is forwarded would wait for ever: a guest that is reset sends no end of it.
carried() {
	local line port status=0
	read -r -t "$patience" line <&"$said" && port=${line#*:} && port=${port%% *} && exec {peer}<>"/dev/tcp/127.0.0.1/$port" ||
		{ echo "forward said '$line'"; return 1; }
	read -r -t "$patience" line <&"$peer" && [[ $line == SSH-* ]] || { echo "the guest said '$line'"; return 1; }
	timeout "$patience" "$DROVER" exec p-1 -- sh -c 'echo b >/proc/sysrq-trigger' 2>/dev/null
	timeout "$patience" cat <&"$peer" >/dev/null || status=$?
	exec {peer}>&-
	return "$status"
}
forwarded() {
	local there status=0
	exec {said}< <(exec "$DROVER" forward p-1 0:22 2>"$home/forward")
	there=$!
	carried || status=$?
	kill "$there"
	exec {said}<&-
	[ "$status" = 0 ] || cat "$home/forward"
	return "$status"
}
ok "a connection that forward carries ends when the guest resets itself" forwarded
ok "and it is there again" "$DROVER" wait -t "$patience" p-1 -c true
ok "a point is saved" "$DROVER" snapshot save p here
fails "a kernel that reboots by its panic ends the command, too" 1 "^drover: p-1 has reset itself" \
	timeout $patience "$DROVER" exec p-1 -- sh -c "echo -1 >/proc/sys/kernel/panic; $crash"
ok "back at the point it runs" "$DROVER" reset p here
fails "it panics again" 1 "^drover: $panicked" timeout $patience "$DROVER" exec p-1 -- sh -c "$crash"
ok "and goes on from the point" "$DROVER" reset p here
ok "of which ls tells nothing any more" eval '[ -z "$("$DROVER" ls p-1 2>&1 >/dev/null)" ]'
ok "and commands run" eval '[ "$("$DROVER" exec p-1 -- echo here)" = here ]'
ok "rm" "$DROVER" rm -f p-1
ok "with which the log that is followed ends" wait "$followed"
wait
ok "nothing is left at all" nothing_left
done_testing
