# SPDX-License-Identifier: MIT
# A cluster whose members talk to each other, for scripts that copy one or put one back. Sourced after lib.sh.
# shellcheck shell=bash
set -o pipefail

guest() { "$DROVER" exec "$1" -- sh -c "$2"; }

# listens MEMBER PORT: until somebody does there; nothing in the guest tells it
listens() {
	guest "$1" "until cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep -q ':$(printf %04X "$2") .*:0000 0A '; do :; done"
}

# A connection from s-1 to s-2 that stays: a line written to /tmp/in there is the next one of /tmp/out here.
connect() {
	guest s-2 'mkfifo /tmp/hold /tmp/out; setsid sh -c "exec 3<>/tmp/hold 4<>/tmp/out; exec nc -l -p 5000 <&3 >&4" >/dev/null 2>&1 </dev/null &' &&
		listens s-2 5000 &&
		guest s-1 'mkfifo /tmp/in; setsid sh -c "exec 3<>/tmp/in; exec nc s-2 5000 <&3" >/dev/null 2>&1 </dev/null &' &&
		carries s one
}

# carries CLUSTER LINE: the connection does, in that copy of it
carries() {
	local line
	guest "$1-1" "echo $2 >/tmp/in" && line=$(guest "$1-2" "timeout $patience sh -c 'read -r line </tmp/out; echo \$line'")
	[ "$line" = "$2" ] || { echo "'$line' came instead of '$2'"; return 1; }
}

state() { guest "$1" "echo $2 >/dev/shm/state"; }
is_state() { [ "$(guest "$1" 'cat /dev/shm/state')" = "$2" ]; }

# clock_is_right MEMBER: it is the host's, give or take what the host's has gone on meanwhile
clock_is_right() {
	local before there
	before=$(date +%s) && there=$(guest "$1" 'date +%s') || return 1
	[ "$there" -ge $((before - 5)) ] && [ "$there" -le $(($(date +%s) + 5)) ] ||
		{ echo "$1 says $there, and it was $before before"; return 1; }
}

# boots ARGS...: up, and $booted is how many ms it took. Not in a subshell.
boots() {
	local began
	began=$(date +%s%N)
	"$DROVER" up "$@" >"$home/boots" 2>&1 && booted=$((($(date +%s%N) - began) / 1000000)) || { sed 's/^/# /' "$home/boots"; return 1; }
}
# how many ms a boot of one more takes now, beside what else the machine does
boot_now() {
	local booted
	boots now --image tiny --mem 256M --cpus 1 >&2 && "$DROVER" rm -f now >&2 && echo "$booted"
}
# quick MS GOAL: at most four times the goal, which bench/warm states; or, where the machine is busy, less than the boot took,
# or than one takes now
quick() { [ "$1" -le $((4 * $2)) ] || [ "$1" -lt "$booted" ] || [ "$1" -lt "$(boot_now)" ]; }
