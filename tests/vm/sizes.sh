#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A member that exists gets other CPUs, memory and a larger disk at its next boot; what was kept of its memory is in the way.
cd "$(dirname "$0")" && . ./lib.sh

has_cpus() { [ "$("$DROVER" exec "$1" -- nproc)" = "$2" ]; }
has_memory_about() { # MEMBER MB: what the kernel keeps for itself is not told
	local mb
	mb=$(($("$DROVER" exec "$1" -- sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo) / 1024)) && echo "$mb MB"
	[ "$mb" -le "$2" ] && [ "$mb" -ge $(($2 * 7 / 10)) ]
}
root_fs_has() { # MEMBER MB at least: of the file system, which grows at the boot
	local mb
	mb=$(($("$DROVER" exec "$1" -- stat -f -c "%b * %S" /) / 1048576)) && echo "$mb MB"
	[ "$mb" -ge "$2" ]
}
address() { "$DROVER" ls --json "$1" | python3 -c 'import json, sys; print(json.load(sys.stdin)[0]["address"])'; }
restarts_in_place() {
	local before after
	before=$(address z-1) && "$DROVER" exec z-1 -- cat /proc/sys/kernel/random/boot_id >"$home/boot" &&
		"$DROVER" restart z-1 --cpus 2 --mem 320M && after=$(address z-1) && echo "$before, then $after" || return 1
	[ "$before" = "$after" ] && ! "$DROVER" exec z-1 -- cat /proc/sys/kernel/random/boot_id | cmp -s - "$home/boot"
}

ok "image tiny is there" "$DROVER" image build tiny
ok "two members boot" "$DROVER" up z -n 2 --image tiny --mem 256M --cpus 1
ok "restart boots one again, with the same address" restarts_in_place
ok "it has other CPUs" has_cpus z-1 2
ok "and other memory" has_memory_about z-1 320
ok "the other member has what it had" has_cpus z-2 1
ok "it reaches the other by name" "$DROVER" exec z-1 -- ping -c 1 z-2
ok "a point is saved" "$DROVER" snapshot save z clean
ok "down" "$DROVER" down z
fails "other memory would break the point" 1 "member z-1 keeps its sizes: it has a point" "$DROVER" up z-1 --mem 512M
ok "without it, it boots" "$DROVER" up z-1
ok "as it was" has_memory_about z-1 320
ok "so does the other" "$DROVER" up z-2
ok "and both go back to their point" "$DROVER" reset z clean
ok "rm" "$DROVER" rm -f z
ok "image debian-12 is there" "$DROVER" image build debian-12
ok "a member with a disk of 3G boots" "$DROVER" up y-1 --cpus 1 --disk 3G
ok "a file is written" "$DROVER" exec y-1 -- sh -c 'echo kept >/var/tmp/file && sync'
ok "its disk grows by a restart" "$DROVER" restart y-1 --disk 5G
ok "and its file system" root_fs_has y-1 4500
ok "the file is there" grep -qx kept <("$DROVER" exec y-1 -- cat /var/tmp/file)
ok "down" "$DROVER" down y-1
fails "a disk does not shrink" 1 "the disk of y-1 has 5120 MB: it can grow, not shrink" "$DROVER" up y-1 --disk 2G
ok "rm of that" "$DROVER" rm -f y-1
ok "nothing is left" nothing_left
done_testing
