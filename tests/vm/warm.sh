#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Members that go on from a template instead of booting, each with names, keys, random numbers and network of its own.
cd "$(dirname "$0")" && . ./lib.sh && . ./clones.sh
set -o pipefail

warm() { "$DROVER" up --image tiny --mem 256M --cpus 1 --warm "$@" 2>"$home/said"; }
made() { grep -q 'stage=template' "$home/said"; }
makes() { warm "$@" && made; }
finds() { warm "$@" && ! made; }
templates() { find "$templates" -mindepth 1 -maxdepth 1 -type d ! -name '.*'; }
one_template() { [ "$(templates | wc -l)" = 1 ]; }
private() { [ -z "$(find "$templates" \( -type f ! -perm 600 \) -o \( -type d ! -perm 700 \))" ]; }
cut() { truncate -s 1000000 "$(templates)/memory"; }
garble() { printf garbage | dd of="$(templates)/memory" bs=1 seek=$((256 << 20)) conv=notrunc status=none; }
# A client that is killed while its template is being made.
killed() {
	local line
	coproc up { exec "$DROVER" up k --image tiny --mem 256M --cpus 1 --warm 2>&1 >/dev/null; }
	while read -r line <&"${up[0]}"; do
		[[ $line == *"$1"* ]] && break
	done
	kill -9 "$up_PID"
	wait "$up_PID" 2>/dev/null
	[[ $line == *"$1"* ]] && nothing_left && [ -z "$(templates)" ]
}
together() {
	local one
	"$DROVER" up x --image tiny --mem 256M --cpus 1 --warm 2>"$home/x" & one=$!
	warm y && wait "$one" && [ "$(cat "$home/x" "$home/said" | grep -c 'stage=template.*preparing')" = 1 ]
}
# Each of those that were there sends something, too.
joined() {
	local m
	finds w-4 w-5 || return 1
	for m in w-1 w-2 w-3; do guest $m "ping -c 1 -W 20 w-4 && ping -c 1 -W 20 w-5" || return 1; done
}
key() { guest "$1" 'md5sum </etc/dropbear/dropbear_ed25519_host_key'; }
cold_again() {
	local before
	before=$(key w-1) && "$DROVER" down w-1 && "$DROVER" up -q w-1 && [ "$(key w-1)" = "$before" ] &&
		[ "$(guest w-1 hostname)" = w-1 ] && ! one_boot w-1 w-2
}

ok "image tiny is there" "$DROVER" image build tiny
mkdir "$home/images" && cp -r "$DROVER_IMAGE_CACHE/tiny" "$home/images/"
export DROVER_IMAGE_CACHE=$home/images
templates=$home/images/.templates
fails "a network of the host is refused" 1 "private networks" "$DROVER" up n --image tiny --warm --network host
fails "mounts are refused" 1 "leave out --warm" "$DROVER" up n --image tiny --warm --mount /tmp:/mnt
fails "firmware is refused" 1 "not by firmware" "$DROVER" up n --image tiny --warm --firmware bios
ok "a client that is killed while the guest boots leaves no template and no process" killed 'booting: start'
ok "nor when it is killed while the guest is prepared" killed preparing
ok "two starts at once make one template" together
ok "it is there once" one_template
ok "its files are its owner's alone" private
ok "three members go on from it" finds w -n 3
ok "they did not boot" one_boot w-1 w-2 w-3 x y
ok "nor do two that a C program's options start from it" env DROVER_REQUIRE=1 timeout 300 "${DROVER_FIXTURE_TESTS:?}/on_tap_warm"
ok "each has its own MAC address" differ 'cat /sys/class/net/eth0/address' w-1 w-2 w-3 x y
ok "each has its own address in their network" differ 'ip -4 addr show eth0 | grep inet' w-1 w-2 w-3
ok "each has the IPv6 address of that MAC address" from_its_mac w-1 w-2 w-3
ok "two more join them" senders w-1 joined
ok "of which no frame came from the template's MAC address" only_own_send w-1 w-2 w-3 w-4 w-5
ok "each has its own host name" differ hostname w-1 w-2 w-3 x y
ok "each has its own id of the boot, for which nobody asked the template" differ 'cat /proc/sys/kernel/random/boot_id' w-1 w-2 w-3 x y
ok "each has its own SSH host key" differ 'md5sum </etc/dropbear/dropbear_ed25519_host_key' w-1 w-2 w-3 x y
ok "each has random numbers of its own" differ 'head -c 16 /dev/urandom | od -An -tx1' w-1 w-2 w-3 x y
ok "each lets in one key" lets_in_one w-1 w-2 w-3 x y
ok "each knows what time it is" on_time w-1 w-2 w-3 x y
ok "they reach each other by name" guest w-1 'ping -c 1 -W 20 w-3'
ok "up again leaves them alone" warm w -n 3
ok "one whose guest restarts itself is who it was" boots_again w-3
ok "one that is stopped boots again, as who it was" cold_again
ok "one is forked" "$DROVER" fork -q w f
ok "and the copy is who the original is" out_is w-2 "$DROVER" exec f-2 -- hostname
ok "a command runs with one" out_is r "$DROVER" run -q r --image tiny --mem 256M --cpus 1 --warm -- \
	"$DROVER" exec r -- hostname
fails "one more is refused where memory is low, with figures" 1 'may need [0-9]+ MB of memory, and 40 MB are available' \
	with_little_memory "$DROVER" up l --image tiny --mem 256M --cpus 1 --warm
ok "which is no fault of the template's" one_template
ok "all end" "$DROVER" rm -f --all
cut
ok "a template that was cut short is made anew" makes c
garble
ok "one that does not load is made anew" makes d
ok "by which the next goes on" finds e
ok "another size is another template" makes --mem 128M g
vanished() {
	"$DROVER" down g && mv "$home/images/tiny" "$home/away" || return 1
	"$DROVER" up -q g 2>"$home/said"
	local rc=$?
	"$DROVER" ls >"$home/ls" 2>/dev/null
	mv "$home/away" "$home/images/tiny"
	cat "$home/said" "$home/ls"
	[ "$rc" -eq 1 ] && grep -q "^drover: .*$home/images/tiny/.*No such file" "$home/said" && grep -q '^g  *error' "$home/ls" &&
		grep -q '^e  *running' "$home/ls" && "$DROVER" up -q g
}
ok "an image that has vanished is named by the next up of its member, and the rest is listed" vanished
ok "the image goes with its templates" bash -c '"$0" rm -f --all && "$0" image rm tiny' "$DROVER"
ok "of which nothing is left" test -z "$(templates)"
ok "nothing is left" nothing_left
done_testing
