#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A cluster of three goes back to a point: memory, clock, SSH, and a TCP connection between members. tiny has no disk.
cd "$(dirname "$0")" && . ./lib.sh && . ./talk.sh

all_state() { for i in 1 2 3; do state s-$i "$1" || return 1; done; }
all_are() { for i in 1 2 3; do is_state s-$i "$1" || return 1; done; }
reset_is_quick() { # members run again, and SSH answers
	local began ms held
	began=$(date +%s%N)
	held=$("$DROVER" reset s | tee /dev/stderr | sed 's/.*held for \([0-9]*\) ms/\1/') || return 1
	ms=$((($(date +%s%N) - began) / 1000000))
	echo "members held for $held ms; SSH and clocks of all three after $ms ms" | tee -a "$home/figures"
	quick "$held" 300 && quick "$ms" 1300
}
all_clocks_are_right() { for i in 1 2 3; do clock_is_right s-$i || return 1; done; }

ok "image tiny is there" "$DROVER" image build tiny
boots s -n 3 --image tiny --mem 256M --cpus 1
tap_result $? "three members boot"
ok "a connection between members" connect
ok "they have a state" all_state before
ok "the cluster is saved" "$DROVER" snapshot save s clean
ok "it goes on" all_are before
ok "it changes" all_state after
ok "the connection carries more" carries s two
ok "the clocks are put wrong" guest s-1 'date -u -s @1000000000'
ok "reset, in time" reset_is_quick
ok "memory of all three is as it was" all_are before
ok "the connection goes on from there" carries s three
ok "the clocks are the host's" all_clocks_are_right
ok "a second reset, in time" reset_is_quick
ok "a newer point takes the older one's place" "$DROVER" snapshot save s clean
ok "there is one" out_is clean "$DROVER" snapshot ls -q s
ok "it is forgotten" "$DROVER" snapshot rm s clean
fails "then there is none" 1 "has no point" "$DROVER" reset s
sed 's/^/# /' "$home/figures"
ok "rm" "$DROVER" rm -f s
ok "nothing is left" nothing_left
done_testing
