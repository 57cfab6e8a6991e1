#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Ctrl-C at each stage of up and run, with real guests: exit status 130, and nothing of it is left.
cd "$(dirname "$0")" && . ./lib.sh

# The stage named in a JSON event; then SIGINT to the command, whose exit status is wanted to be 130.
interrupt() { # STAGE COMMAND...
	local stage=$1 seen='' line rc
	shift
	mkfifo "$home/events"
	"$@" >"$home/events" 2>"$home/err" &
	local client=$!
	exec 7<"$home/events"
	while read -r line <&7; do
		if [[ $line == *"\"stage\":\"$stage\""* ]]; then
			seen=1
			break
		fi
	done
	kill -INT "$client"
	cat <&7 >/dev/null
	exec 7<&-
	rm "$home/events"
	wait "$client"
	rc=$?
	[ -n "$seen" ] || { echo "the stage $stage never came"; cat "$home/err"; return 1; }
	[ "$rc" -eq 130 ] || { echo "exit status $rc"; cat "$home/err"; return 1; }
}
interrupt_at() { # STAGE COMMAND...
	interrupt "$@" || return 1
	nothing_left && [ -z "$("$DROVER" ls -q)" ] || return 1
	[ -z "$(ls -A "$home/clusters")" ] || { find "$home/clusters"; return 1; }
}
interrupt_command() {
	mkfifo "$home/up"
	"$DROVER" run -n 1 --image tiny --cpus 1 -q -- sh -c "trap 'exit 3' INT; echo up > $home/up; while :; do read -r x < $home/up; done" &
	local client=$! rc
	head -n 1 "$home/up" >/dev/null
	kill -INT "$client"
	wait "$client"
	rc=$?
	[ "$rc" -eq 3 ] || { echo "exit status $rc"; return 1; }
	nothing_left && [ -z "$("$DROVER" ls -q)" ]
}
joins_not() {
	interrupt start "$DROVER" up i-2 --image tiny --cpus 1 --json && [ "$("$DROVER" ls -q)" = i ] && "$DROVER" exec i -- true
}

# bash starts background jobs with SIGINT ignored, and what is ignored stays so
set -m

ok "image tiny is built or there" "$DROVER" image build tiny
for stage in image network prepare start ssh; do
	ok "Ctrl-C at stage $stage of up" interrupt_at "$stage" "$DROVER" up i -n 2 --image tiny --cpus 1 --json
done
for stage in image network prepare start ssh; do
	ok "Ctrl-C at stage $stage of run" interrupt_at "$stage" "$DROVER" run -n 2 --image tiny --cpus 1 --json -- cat
done
ok "Ctrl-C during run's command is the command's, and ends the cluster with it" interrupt_command
ok "the next up works" "$DROVER" up i --image tiny --cpus 1
ok "Ctrl-C while a member is added leaves the others" joins_not
ok "rm" "$DROVER" rm -f i
ok "nothing is left" nothing_left
done_testing
