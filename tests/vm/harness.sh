#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# drover_fixture.h with real guests of the image tiny; tests/fixture has the rest, for each framework.
cd "$(dirname "$0")" && . ./lib.sh
mkdir "$home/bin" && ln -s "$(realpath "$DROVER")" "$home/bin/drover"
programs=${DROVER_FIXTURE_TESTS:?where the programs of tests/fixture are}

passes() { "$programs/on_cmocka" 'Passes*' 2>&1 | tee /dev/stderr | grep -q '^ok 1 - Passes_With_Two__members'; }
fails_and_keeps() {
	! DROVER_KEEP=1 timeout 300 "$programs/on_check" fails >"$home/out" 2>"$home/err" && member=$(sed -n 's/^member //p' "$home/out") &&
		[ -n "$member" ] || { cat "$home/out" "$home/err"; return 1; }
}
shows() { # WHAT PATTERN
	sed -n "/^# $member: the last of its $1:/,/: the last of its/p" "$home/err" | grep -E "$2" || { cat "$home/err"; return 1; }
}
line_works() { # PATTERN [INPUT]: the line that stderr has
	local line
	line=$(grep -E "^#   DROVER_HOME='$home' drover $1" "$home/err") || { cat "$home/err"; return 1; }
	(cd / && PATH=$home/bin:$PATH env -u DROVER_HOME sh -c "${line#\#}" <<<"${2:-}")
}

ok "image tiny is built or there" "$DROVER" image build tiny
ok "a test of cmocka boots two members, and the first reaches the second" passes
ok "nothing is left of it" nothing_left
fails_and_keeps
tap_result $? "a test of Check fails after its member booted"
ok "it shows the member's console" shows console '[a-z]'
ok "and what the kernel wrote, where there is no journal" shows journal 'Linux|virtio|\]'
ok "what DROVER_KEEP=1 prints gets in" out_is "$member" line_works "ssh $member\$" hostname
ok "and ends it" line_works "rm -f ${member%-1}\$"
ok "nothing is left of it" nothing_left
done_testing
