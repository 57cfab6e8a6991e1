#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Members of a distribution with systemd and udev that start from one template: each is one of its own, and nothing in it failed.
cd "$(dirname "$0")" && . ./lib.sh && . ./clones.sh
set -o pipefail

as_root=(sudo -n)
all=(w-1 w-2 w-3)
# What the line prints is the same word in each of them.
says() {
	local word=$1 line=$2 m
	for m in "${all[@]}"; do
		[ "$(guest "$m" "$line" | tee "$home/says")" = "$word" ] || { echo "$m:"; cat "$home/says"; return 1; }
	done
}
# The journal's first two lines on sessions of sudo are one session's, and of one host: the template's.
over_before() {
	local m
	for m in "${all[@]}"; do
		guest "$m" 'journalctl -t sudo --no-pager' |
			sed -nE 's/^.* ([^ ]+ sudo\[[0-9]+\]): pam_unix\(sudo:session\): session (opened|closed) .*/\1 \2/p' | head -n 2 >"$home/sessions"
		cat "$home/sessions"
		[ "$(cut -d' ' -f1,2 "$home/sessions" | uniq | sed 's/^template-.*/the template/')" = "the template" ] &&
			[ "$(cut -d' ' -f3 "$home/sessions" | tr '\n' ' ')" = "opened closed " ] || return 1
	done
}

ok "image debian-12 is there" "$DROVER" image build debian-12
mkdir "$home/images" && ln "$DROVER_IMAGE_CACHE/debian-12" -s "$home/images/" # a cache without templates
export DROVER_IMAGE_CACHE=$home/images
ok "three members go on from one template" "$DROVER" up -q w -n 3 --image debian-12 --mem 512M --cpus 1 --warm
ok "they did not boot" one_boot "${all[@]}"
ok "the id of their boot is one, since systemd has read it" says "$(guest w-1 'cat /proc/sys/kernel/random/boot_id')" 'cat /proc/sys/kernel/random/boot_id'
ok "each has its own MAC address" differ 'cat /sys/class/net/eth0/address' "${all[@]}"
ok "each has its own address" differ 'ip -4 addr show eth0 | grep inet' "${all[@]}"
ok "each has the IPv6 address of that MAC address" from_its_mac "${all[@]}"
ok "each has its own host name" differ hostname "${all[@]}"
ok "each has its own machine id" differ 'sort -u /etc/machine-id /var/lib/dbus/machine-id' "${all[@]}"
ok "each has its own SSH host keys, and no other" differ 'test -s /etc/ssh/ssh_host_ed25519_key && md5sum /etc/ssh/ssh_host_*' "${all[@]}"
ok "each has random numbers of its own" differ 'head -c 16 /dev/urandom | od -An -tx1' "${all[@]}"
ok "each lets in one key" lets_in_one "${all[@]}"
ok "each knows what time it is" on_time "${all[@]}"
ok "the session in which the template was made was over when they began" over_before
ok "udev has nothing left to do" says 0 'udevadm settle; echo $?'
ok "the network's unit is active" says active 'systemctl is-active ifup@eth0'
ok "no unit has failed" says '' 'systemctl --failed --no-legend --plain'
ok "files for all are for all" says '644 644' 'stat -c %a /etc/resolv.conf /etc/hosts | xargs'
ok "they reach each other by name" guest w-1 'ping -c 1 -W 20 w-3'
ok "the network of one is taken down and brought up again by its distribution" guest w-3 'systemctl restart ifup@eth0'
ok "by which it has its address again" guest w-1 'ping -c 1 -W 20 w-3'
ok "one whose guest restarts itself is who it was" boots_again w-2
ok "all end" "$DROVER" rm -f --all
ok "nothing is left" nothing_left
done_testing
