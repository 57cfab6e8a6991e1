# SPDX-License-Identifier: MIT
# TAP for every script of the tests: sourced, then `ok` for each claim and `done_testing` as the last command.
# shellcheck shell=bash

n=0
failures=0
patience=120 # seconds that any single event may take on a busy machine; what is waited for comes at once on an idle one

# tap_result STATUS CLAIM: counts and tells one; true when it passed
tap_result() {
	n=$((n + 1))
	if [ "$1" -eq 0 ]; then
		echo "ok $n - $2"
		return 0
	fi
	failures=$((failures + 1))
	echo "not ok $n - $2"
	return 1
}

# tap_skip CLAIM REASON: counts one that this machine cannot try
tap_skip() {
	n=$((n + 1))
	echo "ok $n - $1 # SKIP $2"
}

# ok CLAIM COMMAND...: the command's output is shown when it fails.
ok() {
	local claim=$1 out status=0
	shift
	out=$("$@" 2>&1) || status=$?
	tap_result "$status" "$claim" || tail -n 30 <<<"$out" | sed 's/^/# /'
}

# out_is WANTED COMMAND...: its standard output, whole
out_is() {
	local want=$1 got
	shift
	got=$("$@") || return 1
	[ "$got" = "$want" ] || { echo "got '$got' instead of '$want'"; return 1; }
}

# ended_in SECONDS PID...: waits until all are gone, at most so long: for their ends by pidfds (tail --pid would look once a
# second), and then for their parents to reap them, which nobody tells.
ended_in() {
	[ $# -gt 1 ] || return 0
	python3 -S -c 'import os, select, sys, time
end = time.monotonic() + float(sys.argv[1])
for pid in sys.argv[2:]:
    try:
        fd = os.pidfd_open(int(pid))
    except ProcessLookupError:
        continue
    gone = select.select([fd], [], [], max(0, end - time.monotonic()))[0]
    while gone and os.path.exists("/proc/" + pid) and time.monotonic() < end:
        time.sleep(0.005)
    if not gone or os.path.exists("/proc/" + pid):
        sys.exit(f"{pid} goes on")' "$@"
}
ended() { ended_in "$patience" "$@"; }

# line_comes FILE PATTERN PID [N]: waits until FILE, which need not be there yet, has N lines (1) like PATTERN, an extended regular
# expression: by what inotify tells of it, at most $patience, and no longer than PID runs, which writes it. When they do not come,
# it says what the file has.
line_comes() {
	local count
	: >>"$1" # for a file that is not there tail would look once a second
	count=$(timeout "$patience" tail -n +1 -f --pid="$3" -- "$1" 2>/dev/null | grep -E -c -m "${4:-1}" -e "$2")
	[ "$count" -eq "${4:-1}" ] && return
	echo "$1 has $count of ${4:-1} lines like /$2/; it has:"
	cat -- "$1"
	return 1
}

done_testing() {
	echo "1..$n"
	[ "$failures" -eq 0 ]
}
