#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Copies of a cluster as it was saved: while it runs, while it does not, and as a file. The cluster itself stays as it is.
cd "$(dirname "$0")" && . ./lib.sh && . ./talk.sh

on_copy() { "$DROVER" run -q --from "$1" -- sh -c 'set -- $DROVER_MEMBERS; "$DROVER" exec "$1" -- sh -c "cat /dev/shm/state; hostname; cat /proc/sys/kernel/random/boot_id"'; }
is_before() { [ "$(on_copy s:clean)" = "$(printf 'before\ns-1\n%s' "$boot")" ]; }
only_s() { [ "$("$DROVER" ls -q)" = "$(printf 's-1\ns-2')" ]; }
nothing_captured() { [ -z "$(find "$home/captures" -mindepth 1 -not -name .lock)" ]; }

export DROVER
ok "image tiny is there" "$DROVER" image build tiny
ok "two members boot" "$DROVER" up s -n 2 --image tiny --mem 256M --cpus 1
ok "a connection between them" connect
ok "they have a state" state s-1 before
boot=$(guest s-1 'cat /proc/sys/kernel/random/boot_id')
ok "they are saved" "$DROVER" snapshot save s clean
ok "and change" state s-1 after
fails "copies of the point are refused where memory is low, with figures" 1 \
	'2 fork\(s\) may need [0-9]{3,} MB of memory, and 40 MB are available' with_little_memory "$DROVER" fork s:clean f -n 2
ok "which leaves nothing of them" only_s
ok "two copies of the point" "$DROVER" fork -q s:clean f -n 2
ok "one is as it was saved" is_state f-1-1 before
ok "the other too" is_state f-2-1 before
ok "with its clock set" clock_is_right f-1-2
ok "the connection goes on in one" carries f-1 two
ok "and in the other, apart from it" carries f-2 three
ok "and in the original" carries s four
ok "which is as it went on" is_state s-1 after
ok "a copy has the point" "$DROVER" reset f-1 clean
ok "and is copied" "$DROVER" fork -q f-2 g
ok "a copy that is stopped boots, and is not put back" bash -c '"$0" down f-1 && "$0" up -q f-1-1 && "$0" exec f-1-1 -- test ! -e /dev/shm/state' "$DROVER"
ok "they go" "$DROVER" rm -f f-1 f-2 g
ok "a command runs on the point" is_before
ok "a test of a fixture too" env DROVER_REQUIRE=1 timeout 300 "${DROVER_FIXTURE_TESTS:?}/on_tap_fork" point
fails "a point that there is not is refused, with those that there are" 1 "has no point 'other'; it has clean" "$DROVER" run --from s:other -- true
fails "a fork of it too" 1 "has no point 'other'; it has clean" "$DROVER" fork s:other f
ok "one of them is stopped" "$DROVER" down s-2
fails "then there is no copy, since the point is of both" 1 "s-2 does not run, and others of its cluster do" "$DROVER" fork s:clean f
fails "nor is the rest of the cluster put back without it" 1 "s-2 does not run, and the point 'clean' is of it too" "$DROVER" reset s
ok "which goes on as it was" is_state s-1 after
ok "the other is stopped" "$DROVER" down s-1
ok "the points of a stopped cluster are listed" out_is clean "$DROVER" snapshot ls -q s
ok "and completed" bash -c '"$0" __complete -- fork s:c | grep -qx "s:clean	point"' "$DROVER"
ok "a command runs on the point" is_before
fails "a point that there is not is refused as before" 1 "has no point 'other'; it has clean" "$DROVER" fork s:other f
ok "none of that is left" only_s
ok "nor captures" nothing_captured
ok "the point becomes a file" "$DROVER" snapshot export s:clean "$home/file"
ok "nothing but the cluster is there" only_s
ok "which goes on as it was saved" "$DROVER" snapshot import -q "$home/file" i
ok "under names of its own" out_is "$(printf 'i-1\ni-2')" "$DROVER" ls -q i
ok "with the state" is_state i-1 before
ok "and the connection" carries i five
ok "rm" "$DROVER" rm -f --all
ok "two members of other names boot" "$DROVER" up -q ann bob --image tiny --mem 256M --cpus 1
ok "they are saved" "$DROVER" snapshot save ann both
ok "and stopped" "$DROVER" down ann bob
ok "a copy of the point has both" bash -c '[ "$("$DROVER" run -q --from ann:both -- sh -c "echo \$DROVER_MEMBERS" | wc -w)" = 2 ]'
ok "rm" "$DROVER" rm -f --all
ok "nothing is left" nothing_left
done_testing
