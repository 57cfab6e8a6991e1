# SPDX-License-Identifier: MIT
# What the scripts about members that start from one template use: what must not be the same in two of them.
# shellcheck shell=bash

as_root=() # what goes before a command where the login is not root's
guest() { "$DROVER" exec -t 60 "$1" -- "${as_root[@]}" sh -c "$2"; }
# What the line prints in each of the members, which nobody else may have.
differ() {
	local line=$1 m
	shift
	for m; do
		guest "$m" "$line" || return 1
	done | sort | tee "$home/all" | uniq -d | grep . && return 1
	[ "$(grep -c . "$home/all")" -ge $# ]
}
# The kernel's time stamps are those of the boot that the template had.
one_boot() {
	local m
	for m; do
		guest "$m" 'dmesg | grep -E "Freeing unused kernel image \(init"' || return 1
	done | sort -u | tee "$home/boots"
	[ "$(wc -l <"$home/boots")" = 1 ]
}
on_time() {
	local before after now m
	for m; do
		before=$(date +%s) && now=$(guest "$m" 'date +%s') && after=$(date +%s) || return 1
		[ "$now" -ge $((before - 1)) ] && [ "$now" -le $((after + 1)) ] ||
			{ echo "$m says $now between $before and $after"; return 1; }
	done
}
# Not also that of who made the template, which is the same here.
lets_in_one() {
	local m
	for m; do
		[ "$(guest "$m" 'for f in /root/.ssh/authorized_keys /home/*/.ssh/authorized_keys; do [ ! -e $f ] || grep -c . $f; done' | sort -u)" = 1 ] || return 1
	done
}
