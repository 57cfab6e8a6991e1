#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Which cluster a member belongs to after it was stopped, over the fake backend.   join_test.sh path/to/drover
set -u
. "$(dirname "$0")/../tap.sh"
drover=$(realpath "${1:?path to drover}")
home=$(mktemp -d)
export DROVER_HOME=$home/home

finish() {
	"$drover" rm -f --all >/dev/null 2>&1
	rm -rf "$home"
}
trap finish EXIT

# run ARGS...: its status; what it said is in $home/out and $home/err
run() { timeout 60 "$drover" "$@" >"$home/out" 2>"$home/err" </dev/null; }

up() { run up --quiet --backend fake "$@" || { cat "$home/err"; return 1; }; }

one_helper() { # of both members
	local pids
	pids=$(cat "$DROVER_HOME"/clusters/*/"$1"/pid && echo && cat "$DROVER_HOME"/clusters/*/"$2"/pid) || return 1
	[ "$(sort -u <<<"$pids" | grep -c .)" -eq 1 ] || { echo "$pids"; return 1; }
}
two_helpers() { ! one_helper "$@"; }

# refused SENTENCE HINT ARGS...: as patterns
refused() {
	local sentence=$1 hint=$2
	shift 2
	! run "$@" && grep -q "^drover: $sentence" "$home/err" && grep -q "^hint: $hint" "$home/err" || { cat "$home/err"; return 1; }
}

forget_ids() { sed -i '/cluster_id/d' "$DROVER_HOME"/clusters/*/*/config.json; }

up ann bob
run down ann
ok "a member that was stopped boots" up ann
ok "it joins the one that it ran with: one helper has both" one_helper ann bob
ok "it restarts" run restart ann --quiet
ok "it is still in one cluster with the other" one_helper ann bob
run down ann bob
ok "of a stopped cluster another member is first" up bob
ok "the rest joins it" up ann
ok "one helper has both" one_helper ann bob
up eve
run down ann
ok "who would have to join two clusters is refused, and told how they come together" refused \
	"bob and eve run in different clusters, and ann cannot join both" ".*\`drover down eve\`.*\`drover up ann eve\`" up ann eve
run down eve
ok "a stopped member is named with those of another cluster" up ann eve
ok "it moves there" one_helper bob eve
run down eve
up eve
ok "and stays" one_helper ann eve
up web-7 bob
run down web-7
up web-8
ok "a new member goes where the rest of its name's cluster belongs" one_helper web-8 bob
run rm -f web-7 web-8 eve
up eve
ok "one that was removed and made anew has no partners" two_helpers eve bob
run down ann bob eve
forget_ids
up ann
up bob
ok "members of an older drover have no partners that are known" two_helpers ann bob
run rm -f ann bob eve
up old -n 2
forget_ids
run down old-1
up old-1
ok "but join the rest of their name's cluster" one_helper old-1 old-2
done_testing
