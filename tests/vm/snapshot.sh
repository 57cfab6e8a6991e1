#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A cluster of three goes back to a point: memory, clock, SSH, and a TCP connection between members. tiny has no disk.
cd "$(dirname "$0")" && . ./lib.sh
set -o pipefail

guest() { "$DROVER" exec "$1" -- sh -c "$2"; }
# A connection from s-1 to s-2 that stays: a line written to /tmp/in there is the next one of /tmp/out here.
connect() {
	guest s-2 'mkfifo /tmp/hold /tmp/out; setsid sh -c "exec 3<>/tmp/hold 4<>/tmp/out; exec nc -l -p 5000 <&3 >&4" >/dev/null 2>&1 </dev/null &' &&
		guest s-1 'mkfifo /tmp/in; setsid sh -c "exec 3<>/tmp/in; exec nc s-2 5000 <&3" >/dev/null 2>&1 </dev/null &' &&
		carries one
}
carries() {
	local line
	guest s-1 "echo $1 >/tmp/in" && line=$(guest s-2 'timeout 20 sh -c "read -r line </tmp/out; echo \$line"')
	[ "$line" = "$1" ] || { echo "'$line' came instead of '$1'"; return 1; }
}
state() { for i in 1 2 3; do guest s-$i "echo $1 >/dev/shm/state" || return 1; done; }
is_state() { for i in 1 2 3; do [ "$(guest s-$i 'cat /dev/shm/state')" = "$1" ] || return 1; done; }
reset_is_quick() { # members run again, and SSH answers
	local began ms held
	began=$(date +%s%N)
	held=$("$DROVER" reset s | tee /dev/stderr | sed 's/.*held for \([0-9]*\) ms/\1/') || return 1
	ms=$((($(date +%s%N) - began) / 1000000))
	echo "members held for $held ms; SSH and clocks of all three after $ms ms" | tee -a "$home/figures"
	[ "$held" -le $((300 * slack)) ] && [ "$ms" -le $((1300 * slack)) ]
}
clock_is_right() {
	local i there
	for i in 1 2 3; do
		there=$(guest s-$i 'date +%s') || return 1
		[ $(($(date +%s) - there)) -le 5 ] || { echo "s-$i is $(($(date +%s) - there)) s late"; return 1; }
	done
}
slack=${DROVER_TEST_SLACK:-4} # a busy machine; bench/warm states the goals themselves

ok "image tiny is there" "$DROVER" image build tiny
ok "three members boot" "$DROVER" up s -n 3 --image tiny --mem 256M --cpus 1
ok "a connection between members" connect
ok "they have a state" state before
ok "the cluster is saved" "$DROVER" snapshot save s clean
ok "it goes on" is_state before
ok "it changes" state after
ok "the connection carries more" carries two
ok "the clocks are put wrong" guest s-1 'date -u -s @1000000000'
ok "reset, in time" reset_is_quick
ok "memory of all three is as it was" is_state before
ok "the connection goes on from there" carries three
ok "the clocks are the host's" clock_is_right
ok "a second reset, in time" reset_is_quick
ok "a newer point takes the older one's place" "$DROVER" snapshot save s clean
ok "there is one" out_is clean "$DROVER" snapshot ls -q s
ok "it is forgotten" "$DROVER" snapshot rm s clean
fails "then there is none" 1 "has no point" "$DROVER" reset s
sed 's/^/# /' "$home/figures"
ok "rm" "$DROVER" rm -f s
ok "nothing is left" nothing_left
done_testing
