#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Which cluster a member belongs to after it was stopped, over the fake backend.   join_test.sh path/to/drover
set -u
. "$(dirname "$0")/home.sh"

# run ARGS...: its status; what it said is in $home/out and $home/err
run() { timeout $patience "$drover" "$@" >"$home/out" 2>"$home/err" </dev/null; }

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
run rm -f old

# --- at once
# at_once MEMBER...: a command for each, at the same instant; all end well and one helper has them
at_once() {
	local member pids=() bad=0
	for member; do
		timeout $patience "$drover" up "$member" --quiet --backend fake >"$home/$member" 2>&1 </dev/null &
		pids+=($!)
	done
	for member; do
		wait "${pids[0]}" || { cat "$home/$member"; bad=1; }
		pids=("${pids[@]:1}")
	done
	for member; do
		one_helper "$1" "$member" || bad=1
	done
	return "$bad"
}
again_and_again() { # COMMAND MEMBER...: what comes between
	local i
	for i in {1..50}; do
		at_once "${@:2}" || { echo "round $i"; return 1; }
		run $1 "${@:2}" || { cat "$home/err"; return 1; }
	done
}
up ann bob
run down ann bob
ok "two commands that start the members of one cluster at once make one of it" again_and_again down ann bob
ok "so do three that make the first members of one name" again_and_again "rm -f" new-1 new-2 new-3

# --- a start that ends when another has joined it
becomes() { # MEMBER STATE: waits until it is told to be
	timeout $patience "$drover" events --json "$1" >"$home/events" 2>&1 &
	local events=$!
	line_comes "$home/events" "\"$1\".*\"$2\"" "$events"
	local status=$?
	kill "$events"
	return "$status"
}
spares_others() {
	local first rc
	DROVER_FAKE_BOOT_MS=3600000 DROVER_FAKE_SLOW=ann "$drover" up ann --quiet --backend fake >"$home/ann" 2>&1 &
	first=$!
	becomes ann starting && up bob && one_helper ann bob || return 1
	kill -TERM "$first" # a shell has its background jobs ignore SIGINT
	wait "$first"
	rc=$?
	"$drover" ls
	cat "$home/ann"
	[ "$rc" -eq 143 ] && "$drover" ls | grep -q '^bob .*running' && "$drover" ls | grep -q '^ann .*stopped'
}
ok "a start that is interrupted ends its own members, and not one that has joined meanwhile" spares_others
run down bob
ok "both boot afterwards" up ann bob
run down ann bob
after_a_failure() { # who joins a start that fails starts by itself
	local i first
	for i in {1..50}; do
		DROVER_FAKE_FAIL_CREATE=ann "$drover" up ann --quiet --backend fake >"$home/ann" 2>&1 &
		first=$!
		up bob || { echo "round $i"; return 1; }
		wait "$first"
		"$drover" ls | grep -q '^bob .*running' || { echo "round $i"; "$drover" ls; return 1; }
		run down ann bob
	done
}
ok "who comes beside a start that fails runs all the same" after_a_failure
run rm -f ann bob

# --- a cluster that ends with its last member, and removes them
of_a_run() {
	# shellcheck disable=SC2016
	run run once -n 2 --backend fake --quiet -- sh -c '"$0" restart once -q; echo "exit $?"; "$0" ls once; "$0" restart once-1 -q && "$0" ls once
		"$0" down once-2 && "$0" restart once-1 -q; echo "exit $?"; "$0" ls once' "$drover" || { cat "$home/err"; return 1; }
	cat "$home/out" "$home/err"
	[ "$(grep -c '^once-[12] .*running' "$home/out")" -eq 5 ] && [ "$(grep -c '^exit 1$' "$home/out")" -eq 2 ] &&
		[ "$(grep -c "^drover: once-1 would be removed when it stops: its cluster, like that of a 'drover run', ends" "$home/err")" -eq 2 ]
}
ok "restart of the last members of a drover run is refused while they run, and that of one beside another is not" of_a_run

# --- copies: they are called inside what their originals are called, and each copy has an id
# copy MEMBER NAME ID: what a fork leaves of it in the store once the copy has stopped; fake itself copies nothing
copy() {
	python3 - "$DROVER_HOME/clusters" "$@" <<-'EOF'
		import json, pathlib, re, shutil, sys
		clusters, member, name, cluster_id = sys.argv[1:]
		there = [pathlib.Path(clusters, re.sub(r"-[0-9]+$", "", n), n) for n in (member, name)]
		shutil.copytree(*there)
		config = json.loads((there[0] / "config.json").read_text())
		config.update(name=name, guest_name=member, cluster_id=cluster_id)
		(there[1] / "config.json").write_text(json.dumps(config))
	EOF
}
has_id() { grep -q "\"cluster_id\": *\"$2\"" "$DROVER_HOME"/clusters/*/"$1"/config.json; }
reserved() { sed -n 's/.*"op":"reserve","name":"\([^"]*\)".*/\1/p' "$home/record" | sort | tr '\n' ' '; }
up ann bob solo
run down ann bob solo
for member in ann bob; do
	copy "$member" "f-$member" 00000000000000f1
	copy "$member" "g-$member" 00000000000000f2
done
copy solo solo-1 00000000000000a1
copy solo solo-2 00000000000000a2
up ann bob
DROVER_FAKE_RECORD=$home/record up f-ann f-bob
up g-ann
ok "a copy boots as a cluster of its own" eval "one_helper f-ann f-bob && two_helpers f-ann ann && two_helpers f-ann g-ann"
ok "another of its kind joins its own copy" eval "up g-bob && one_helper g-ann g-bob"
for member in f-ann ann; do
	run down "$member"
	ok "$member, stopped and started, joins those it ran with" eval "up $member && one_helper ann bob && one_helper f-ann f-bob"
done
ok "inside it is called what its original is" out_is "ann bob " reserved
ok "and has its copy's id" eval "has_id f-ann 00000000000000f1 && has_id f-bob 00000000000000f1 && ! has_id ann 00000000000000f1"
run down f-ann f-bob g-ann g-bob
ok "a copy that stopped is one cluster again, whoever is first" eval "up f-bob && up f-ann && one_helper f-ann f-bob && two_helpers f-ann ann"
up solo-1
up solo-2
ok "copies of one member have a name's beginning in common, and no cluster" two_helpers solo-1 solo-2
run down solo-1
ok "one that is started again does not join the other" eval "up solo-1 && two_helpers solo-1 solo-2"
ok "nor does the original" eval "up solo && two_helpers solo solo-1 && two_helpers solo solo-2"
ok "a new one of that name would have to join all" refused ".* and solo-. run in different clusters, and solo-3 cannot join both" "" up solo-3
run rm -f --all
ok "no directory is left of a cluster that has no members" eval '[ -z "$(ls "$DROVER_HOME/clusters")" ]'
done_testing
