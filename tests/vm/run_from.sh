#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# drover run --from: a command on a copy of a running cluster, or of a file, that goes with it.
cd "$(dirname "$0")" && . ./lib.sh && . ./talk.sh

file=$home/s.drover
on_copy() { "$DROVER" run -q --from "$1" -- sh -c "$2"; }
knows() { [ "$(on_copy "$1" 'set -- $DROVER_MEMBERS; "$DROVER" exec "$1" -- cat /dev/shm/state')" = "$2" ]; }
changes() { on_copy s 'set -- $DROVER_MEMBERS; "$DROVER" exec "$1" -- sh -c "echo changed >/dev/shm/state"'; }
side_by_side() {
	local pids=() r=0
	for _ in 1 2 3; do
		knows s before &
		pids+=($!)
	done
	for p in "${pids[@]}"; do wait "$p" || r=1; done
	return $r
}
only_s() { [ "$("$DROVER" ls -q)" = "$(printf 's-1\ns-2')" ]; }
killed() { # the copy goes with the command, however that ends
	local pid
	mkfifo "$home/said"
	"$DROVER" run -q --from s k -- sh -c 'echo runs >"$0"; exec cat' "$home/said" </dev/zero >/dev/null &
	pid=$!
	read -r _ <"$home/said" && helper=$(cat "$home/clusters/k/k-1/pid") && kill -9 $pid && ended "$helper"
}

export DROVER
ok "image tiny is there" "$DROVER" image build tiny
ok "two members boot" "$DROVER" up s -n 2 --image tiny --mem 256M --cpus 1
ok "they have a state" state s-1 before
ok "a command on a copy changes it" changes
ok "the next does not see that" knows s before
ok "three at once have a copy each" side_by_side
ok "its status is the command's" bash -c '"$DROVER" run -q --from s -- sh -c "exit 7"; [ $? = 7 ]'
ok "nothing is left of the copies" only_s
ok "a command that is killed takes its copy along" killed
ok "nothing is left of that either" only_s
ok "the cluster becomes a file" "$DROVER" snapshot export s "$file"
ok "and goes" "$DROVER" rm -f s
ok "a command runs on a copy of the file" knows "$file" before
fails "a cluster that does not run is refused" 1 "no member or cluster is called 's'" "$DROVER" run --from s -- true
fails "options of members are refused" 2 "makes a copy as it is" "$DROVER" run --from "$file" -n 2 -- true
ok "nothing is left" nothing_left
done_testing
