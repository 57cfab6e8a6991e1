#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# DROVER_FIXTURE_BASE with real guests: a cluster is set up once, and each test runs on a copy of its own.
cd "$(dirname "$0")" && . ./lib.sh
programs=${DROVER_FIXTURE_TESTS:?where the programs of tests/fixture are}

runs() { # PROGRAM [ARGUMENT]: leaves $status, $home/out, $home/err
	status=0
	timeout 300 "$programs/$1" "${@:2}" >"$home/out" 2>"$home/err" || status=$?
}
said() { cat "$home/out" "$home/err"; return 1; }
one_set_up() { [ "$(grep -c '^set up talkers-' "$home/out")" = 1 ] && [ "$(grep '^member ' "$home/out" | sort -u | wc -l)" = "$1" ]; }
passes() { # FRAMEWORK WORDS
	runs "on_$1_fork"
	[ "$status" = 0 ] && one_set_up 4 && cat "$home/out" "$home/err" | grep -Eq "$2" || said
}
side_by_side() {
	DROVER_KEEP=1 runs on_tap_fork with-failure
	[ "$status" = 1 ] && one_set_up 6 && grep -q '^ok 1 - first' "$home/out" && grep -q '^ok 2 - second' "$home/out" &&
		grep -q '^not ok 3 - fails' "$home/out" || said
}
kept() { [ "$("$DROVER" ls -q | wc -l)" = 2 ] && "$DROVER" exec "$("$DROVER" ls -q | head -n1)" -- grep -q ready /dev/shm/state; }
no_capture() { [ -z "$(find "$home/captures" -mindepth 1 -not -name .lock)" ]; }

ok "image tiny is there" "$DROVER" image build tiny
ok "cmocka: two tests, one after the other, each on a copy of one set-up" passes cmocka '^ok 2 - second'
ok "Check: two tests, each in a process, on copies of one set-up" passes check '^100%: Checks: 2, Failures: 0, Errors: 0'
ok "no copy, set-up or capture is left of them" bash -c '[ -z "$("$0" ls -q)" ]' "$DROVER"
ok "three tests side by side, one of which fails" side_by_side
ok "the failed one's copy is kept, as set up" kept
ok "its members go" "$DROVER" rm -f --all
ok "no capture is left" no_capture
ok "nothing is left" nothing_left
done_testing
