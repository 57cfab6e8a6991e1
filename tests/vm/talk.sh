# SPDX-License-Identifier: MIT
# A cluster whose members talk to each other, for scripts that copy one or put one back. Sourced after lib.sh.
# shellcheck shell=bash
set -o pipefail

guest() { "$DROVER" exec "$1" -- sh -c "$2"; }

# A connection from s-1 to s-2 that stays: a line written to /tmp/in there is the next one of /tmp/out here.
connect() {
	guest s-2 'mkfifo /tmp/hold /tmp/out; setsid sh -c "exec 3<>/tmp/hold 4<>/tmp/out; exec nc -l -p 5000 <&3 >&4" >/dev/null 2>&1 </dev/null &' &&
		guest s-1 'mkfifo /tmp/in; setsid sh -c "exec 3<>/tmp/in; exec nc s-2 5000 <&3" >/dev/null 2>&1 </dev/null &' &&
		carries s one
}

# carries CLUSTER LINE: the connection does, in that copy of it
carries() {
	local line
	guest "$1-1" "echo $2 >/tmp/in" && line=$(guest "$1-2" 'timeout 20 sh -c "read -r line </tmp/out; echo \$line"')
	[ "$line" = "$2" ] || { echo "'$line' came instead of '$2'"; return 1; }
}

state() { guest "$1" "echo $2 >/dev/shm/state"; }
is_state() { [ "$(guest "$1" 'cat /dev/shm/state')" = "$2" ]; }

# boots ARGS...: up, and $booted is how many ms it took. Not in a subshell.
boots() {
	local began
	began=$(date +%s%N)
	"$DROVER" up "$@" >"$home/boots" 2>&1 && booted=$((($(date +%s%N) - began) / 1000000)) || { sed 's/^/# /' "$home/boots"; return 1; }
}
# quick MS GOAL: at most four times the goal, which bench/warm states; or, where the machine is busy, less than the boot took
quick() { [ "$1" -le $((4 * $2)) ] || [ "$1" -lt "$booted" ]; }
