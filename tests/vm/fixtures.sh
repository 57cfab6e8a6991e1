#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Directories of the host in a guest. The image tiny, which boots fastest, has no systemd; debian-12 has.
cd "$(dirname "$0")" && . ./lib.sh
data=$home/data
mkdir -p "$data/sub" && echo one >"$data/file" && chmod 640 "$data/file" && ln -s file "$data/link" && chmod 750 "$data/sub" &&
	printf '#!/bin/sh\necho it runs\n' >"$data/sub/run" && chmod 755 "$data/sub/run" && chown 1234:1235 "$data/file"

in_guest() { "$DROVER" exec f-1 -- "$@"; }
looks_alike() {
	diff <(cd "$data" && find . -mindepth 1 -printf '%P %m %U %G %l\n' | sort) \
		<(in_guest sh -c 'cd /srv/data && find . -mindepth 1 | cut -c3- | sort | while read -r f; do echo "$f $(stat -c "%a %u %g" "$f") $(readlink "$f")"; done')
}
is_read_only() { ! in_guest touch /srv/data/new && ! in_guest mount -o remount,rw /srv/data && [ ! -e "$data/new" ]; }

ok "image tiny is built or there" "$DROVER" image build tiny
ok "a member boots with a fixture" "$DROVER" up f-1 --image tiny --cpus 1 --fixture "$data:/srv/data"
fails "it is not forked, for it has a directory of the host" 1 'f-1 has directories of the host .*not forked' "$DROVER" fork f copy
fails "nor exported" 1 'f-1 has directories of the host .*not forked' "$DROVER" snapshot export f "$home/f.drover"
ok "which leaves no file" bash -c '! find "$0" -name "f.drover*" | grep .' "$home"
ok "names, modes, owners and links are the host's" looks_alike
ok "content is the host's" out_is one in_guest cat /srv/data/link
ok "a program in it runs" out_is "it runs" in_guest /srv/data/sub/run
ok "the guest cannot write there, not even as root" is_read_only
ok "it stops" "$DROVER" down f-1
echo two >"$data/file"
rm "$data/link"
ok "it boots again, the option not repeated" "$DROVER" up f-1
ok "the fixture was built anew" out_is two in_guest cat /srv/data/file
ok "what went from the host went from the guest" looks_alike
rm -rf "$data"
ok "it stops again" "$DROVER" down f-1
fails "a fixture whose directory is gone is named" 1 'the fixture .*/data: No such file' "$DROVER" up f-1 --quiet
ok "rm of it" "$DROVER" rm -f f
ok "nothing is left" nothing_left
done_testing
