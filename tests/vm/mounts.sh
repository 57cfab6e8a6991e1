#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Live directories of the host in a guest, for an ordinary user. debian-12, because it has systemd and an fstab.
cd "$(dirname "$0")" && . ./lib.sh
without_root debian-12
mkdir -p "$home/read" "$home/write" "$home/fixed" && echo one >"$home/read/file" && echo fixed >"$home/fixed/file"

in_guest() { "$DROVER" exec m-1 -- "$@"; }
# What changes on the host is in the guest at the next look.
follows() {
	echo two >"$home/read/file" && out_is two in_guest cat /srv/read/file &&
		mv "$home/read/file" "$home/read/other" && in_guest sh -c '[ ! -e /srv/read/file ] && grep -q two /srv/read/other'
}
is_read_only() {
	! in_guest sudo touch /srv/read/new && ! in_guest sudo sh -c 'mount -o remount,rw /srv/read && touch /srv/read/new' &&
		! in_guest sudo rm /srv/read/other && [ "$(ls "$home/read")" = other ]
}
writes_back() {
	in_guest sudo sh -c 'echo back >/srv/write/file && mkdir /srv/write/dir && chmod 750 /srv/write/dir && mv /srv/write/file /srv/write/dir/' &&
		out_is back cat "$home/write/dir/file" && out_is "750 $(id -u)" stat -c '%a %u' "$home/write/dir"
}
# A reboot from inside: the console says when it is up again.
reboots() {
	local log pid
	log=$home/clusters/m/m-1/serial.log
	exec {seen}< <(timeout 300 tail -n 0 -f "$log" | grep -m 1 'login:')
	"$DROVER" exec -t "$patience" m-1 -- sudo systemctl reboot
	read -r -t 300 _ <&"$seen" || return 1
	in_guest sudo sh -c 'systemctl start /srv/read && grep back /srv/write/dir/file && grep fixed /srv/fixed/file && grep two /srv/read/other'
}
servers() { local p; for p in $(processes | cut -d' ' -f1); do grep -qs '^virtiofsd' "/proc/$p/comm" && echo "$p"; done; return 0; }
is_served_by() { [ "$(servers | wc -l)" -eq "$1" ] || { servers; return 1; }; }
loses_a_server() { # one is killed: the member ends, and says why
	local qemu
	qemu=$(processes | awk '/qemu-system/ { print $1; exit }')
	kill -9 "$(servers | head -n 1)" && ended "$qemu" && "$DROVER" wait m-1 --state error -t "$patience" &&
		"$DROVER" ls --json m-1 | grep -q 'the server of the mount .* ended'
}

# As soon as servers run: the guest need not be up.
helper_is_killed() {
	local line='' helper served
	exec {said}< <(exec "$DROVER" up m-1 --json 2>&1)
	until [[ $line == *'"stage":"ssh"'* || $line == *'"stage":"start"'* ]]; do
		read -r -t $patience line <&"$said" || return 1
	done
	until served=$(servers) && [ -n "$served" ]; do
		[ -e "$home/clusters/m/m-1/pid" ] || return 1
	done
	helper=$(cat "$home/clusters/m/m-1/pid")
	kill -9 "$helper"
	# shellcheck disable=SC2046
	ended $(processes | cut -d' ' -f1) || return 1
	! cat <&"$said" | grep '"stage":"ready"'
}

fails "a mount of what is not there is refused" 1 'none: No such file' "$DROVER" up m-1 --mount "$home/none:/srv/none"
fails "a mount to a relative path is refused" 2 "is not HOST:GUEST" "$DROVER" up m-1 --mount "$home/read:srv"
ok "a member boots with mounts and a fixture" "$DROVER" up m-1 --image debian-12 --cpus 1 --mem 512 \
	--mount "$home/read:/srv/read:ro" --mount "$home/write:/srv/write:rw" --fixture "$home/fixed:/srv/fixed"
ok "two servers run" is_served_by 2
ok "the guest sees what is there" out_is one in_guest cat /srv/read/file
ok "and what changes" follows
ok "a read-only mount stays that, even for root" is_read_only
ok "what root of the guest writes to the other is on the host, the user's own" writes_back
fails "it has no points" 1 'm-1 has mounts, which no point can put back' "$DROVER" snapshot save m here
fails "it is not forked" 1 'm-1 has directories of the host .*not forked' "$DROVER" fork m copy
fails "nor exported" 1 'm-1 has directories of the host .*not forked' "$DROVER" snapshot export m "$home/m.drover"
ok "the guest restarts itself, and all is there again" reboots
ok "a server that dies ends the member, which says so" loses_a_server
ok "no server outlives its member" is_served_by 0
ok "kill -9 of the helper ends the servers" helper_is_killed
ok "no server is left of it" is_served_by 0
ok "rm of it" "$DROVER" rm -f m
ok "nothing is left" nothing_left
done_testing
