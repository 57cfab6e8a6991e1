#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Full and read-only directories, too few descriptors, stale and damaged records, a stopped helper, two at once: each has
# a clear answer that names the file, and the next command works. Over the fake backend.
#   store_under_fire.sh DROVER HELPER
. "$(dirname "$0")/lib.sh"

# says STATUS PATTERN COMMAND...: the exit status, and a sentence on stderr
says() {
	local want=$1 pattern=$2 err rc=0
	shift 2
	err=$(timeout $patience "$@" 2>&1 >/dev/null </dev/null) || rc=$?
	echo "exit $rc: $err"
	[ "$rc" -eq "$want" ] && grep -Eq -- "^drover: .*$pattern" <<<"$err"
}

# --- two at once: one VM a name, which both have when they end
two_at_once() {
	local first second owners
	up race >"$scratch/1" 2>&1 &
	first=$!
	up race >"$scratch/2" 2>&1 &
	second=$!
	wait "$first"
	first=$?
	wait "$second"
	second=$?
	cat "$scratch/1" "$scratch/2"
	[ "$first" -eq 0 ] && [ "$second" -eq 0 ] || return 1
	owners=$("$drover" audit --json | grep -c drover-helper)
	[ "$owners" -eq 1 ] && "$drover" ls | grep -q '^race .*running'
}
ok "of two 'up' at once one makes the member, and both end when it runs" two_at_once
ok "the member of the two can be removed" "$drover" rm -f race

# --- up beside an up that boots: it waits for that, and when that start ends it makes its own
becomes() { # STATE: waits until the member slow is told to be in it
	: >"$scratch/events" # before somebody waits for what comes into it
	"$drover" events >>"$scratch/events" 2>&1 &
	local events=$!
	line_comes "$scratch/events" "slow .*$1" "$events"
	local status=$?
	kill "$events"
	return "$status"
}
booting() { # MS
	DROVER_FAKE_BOOT_MS=$1 "$drover" up slow --backend fake --quiet 2>"$scratch/1" &
	first=$!
	becomes starting
}
beside() {
	local owner
	booting 3000 || return 1
	owner=$(helper_of slow slow)
	"$drover" up slow --backend fake >"$scratch/2" 2>&1
	local rc=$?
	cat "$scratch/2"
	"$drover" ls slow | grep -q '^slow .*running' || return 1
	wait "$first" && [ "$rc" -eq 0 ] && [ "$owner" = "$(helper_of slow slow)" ] && grep -q 'slow is being started by another drover' "$scratch/2" &&
		grep -q 'slow .*running already' "$scratch/2"
}
ok "up beside an up that boots the member waits for it, and answers that it runs already" beside
ok "rm" "$drover" rm -f slow
after_another() {
	booting 3600000 || return 1
	: >"$scratch/2" # what the one before has said
	"$drover" up slow --backend fake >>"$scratch/2" 2>&1 &
	local second=$!
	line_comes "$scratch/2" 'being started by another' "$second" || return 1
	kill -TERM "$first"
	wait "$second"
	local rc=$?
	cat "$scratch/2"
	[ "$rc" -eq 0 ] && "$drover" ls slow | grep -q '^slow .*running'
}
ok "when that start is given up, the other up makes the member" after_another
ok "rm of it" "$drover" rm -f slow
while_stopping() {
	DROVER_FAKE_STOP_MS=2000 "$drover" up slow --backend fake --quiet || return 1
	"$drover" down slow >"$scratch/1" 2>&1 &
	becomes stopping || return 1
	"$drover" up slow --backend fake >"$scratch/2" 2>&1
	local rc=$?
	cat "$scratch/2"
	wait
	[ "$rc" -eq 0 ] && grep -q 'slow is being stopped by another' "$scratch/2" && "$drover" ls slow | grep -q '^slow .*running'
}
ok "up of a member that is being stopped boots it after that" while_stopping
ok "rm of that" "$drover" rm -f slow

# --- several targets: each has its line, one that there is not stops nobody
best_effort() {
	up web -n 2 && up db && "$drover" down web-2 || return 1
	"$drover" down web nosuch >"$scratch/1" 2>&1 && return 1
	"$drover" rm -f db nosuch web-1 >"$scratch/2" 2>&1 && return 1
	cat "$scratch/1" "$scratch/2"
	grep -q '^web-1: stopped' "$scratch/1" && grep -q '^web-2: was not running' "$scratch/1" && grep -q "called 'nosuch'" "$scratch/1" &&
		grep -q '^db: removed' "$scratch/2" && grep -q '^web-1: removed' "$scratch/2" && grep -q "called 'nosuch'" "$scratch/2" &&
		[ "$("$drover" ls -q)" = web-2 ] && "$drover" rm -f --all | grep -q '^web-2: removed'
}
ok "down and rm do what they can of names, clusters and --all, with a line for each" best_effort

# --- records of another boot, which name a live process
stale() {
	up web -n 2 && "$drover" down web || return 1
	printf '%s' $$ >"$DROVER_HOME/clusters/web/web-1/pid"
	echo "$$ 1 00000000-0000-4000-8000-000000000000" >"$DROVER_HOME/clusters/web/web-1/owner"
	"$drover" audit
	"$drover" audit 2>/dev/null | grep -q '^pidfile  *web-1  *nobody'
}
ok "records of another boot are nobody's, whatever process has the pid" stale
ok "the next up works over them" up web -n 2
ok "down" "$drover" down web
ok "nothing is left" nothing_left

# --- a helper that does not answer
stopped_helper() {
	local pid rc
	up web -n 2 || return 1
	pid=$(helper_of web web-1)
	kill -STOP "$pid"
	timeout $patience "$drover" ls >"$scratch/ls" 2>"$scratch/err"
	rc=$?
	kill -CONT "$pid"
	cat "$scratch/ls" "$scratch/err"
	[ "$rc" -eq 0 ] && [ "$(grep -c '^web-. *unknown  *[0-9.]* ' "$scratch/ls")" -eq 2 ] &&
		[ "$(grep -c "^drover: web-.: its helper (pid $pid) does not answer" "$scratch/err")" -eq 2 ] &&
		[ "$("$drover" ls | grep -c '^web-.*running')" -eq 2 ]
}
ok "ls ends while the helper is stopped and says that it does not answer, and the state when it goes on" stopped_helper
up_waits() {
	local pid second rc
	pid=$(helper_of web web-1)
	kill -STOP "$pid"
	: >"$scratch/2"
	"$drover" up web --backend fake >>"$scratch/2" 2>&1 &
	second=$!
	line_comes "$scratch/2" "the helper of web-1 \(pid $pid\) does not answer: waiting for it" "$second"
	rc=$?
	kill -CONT "$pid"
	wait "$second" && [ "$rc" -eq 0 ] && grep -q 'web-1 .*running already' "$scratch/2"
}
ok "up waits for such a helper, and says so" up_waits
ok "down of a helper that was stopped" "$drover" down web

# --- damaged records
damaged() {
	echo '{"name": "web-1", "cpus": "two"}' >"$DROVER_HOME/clusters/web/web-1/config.json"
	"$drover" ls >"$scratch/ls" 2>"$scratch/err"
	cat "$scratch/ls" "$scratch/err"
	grep -q '^web-1 .*damaged' "$scratch/ls" && grep -q '^web-2 .*stopped' "$scratch/ls" &&
		grep -q 'web-1/config.json is damaged: its "cpus"' "$scratch/err"
}
ok "a damaged configuration is named and the rest is listed" damaged
ok "a damaged member can be removed" "$drover" rm -f web

# --- failures
failed_once() {
	up bad && "$drover" down bad || return 1
	printf 'bad: the guest did not begin to run in time' >"$DROVER_HOME/clusters/bad/bad/failure"
	"$drover" ls bad >"$scratch/ls" 2>"$scratch/err"
	cat "$scratch/err"
	grep -qx 'drover: bad: the guest did not begin to run in time' "$scratch/err" || return 1
	DROVER_FAKE_FAIL_CREATE=bad up bad
	"$drover" ls bad >"$scratch/ls" 2>"$scratch/err"
	cat "$scratch/ls" "$scratch/err"
	grep -q '^bad .*error' "$scratch/ls" && grep -q '^drover: create bad: fake backend' "$scratch/err"
}
ok "ls names a member that failed once, wherever the failure names it" failed_once
ok "rm of that member" "$drover" rm -f bad

# --- too few descriptors
few_descriptors() { (ulimit -n 9 && says 1 'Too many open files|out of memory' "$drover" up few --backend fake); }
ok "too few descriptors are told" few_descriptors
ok "nothing is left of that" nothing_left

# --- file systems that are full or read-only
if unshare -m true 2>/dev/null; then
	mkdir "$scratch/fs"
	full() {
		unshare -m bash -c '
			mount -t tmpfs -o size=256k none "$1/fs" && export DROVER_HOME=$1/fs/home || exit 1
			mkdir -p "$DROVER_HOME"
			head -c 1M /dev/zero >"$1/fs/fill" 2>/dev/null
			timeout 60 "$2" up full --backend fake --quiet 2>&1
			[ $? -eq 1 ] || exit 1
			rm "$1/fs/fill"
			"$2" ls && "$2" audit && [ -z "$("$2" ls -q)" ] && "$2" up full --backend fake --quiet &&
				"$2" rm -f full' _ "$scratch" "$drover" >"$scratch/full" 2>&1
		local rc=$?
		cat "$scratch/full"
		[ "$rc" -eq 0 ] && grep -q "^drover: .*$scratch/fs/home.*No space left" "$scratch/full"
	}
	ok "a full disk is told with the file's name, and with room again the same up works" full
	# What each command writes first where no byte is left, and then again with room. STATUS FILE COMMAND...; +: on a cluster that runs
	full_rows() {
		unshare -m bash -c '
			scratch=$1 drover=$2 bad=0
			mount -t tmpfs -o size=512k none "$scratch/fs" && export DROVER_HOME=$scratch/fs/home && mkdir "$DROVER_HOME" || exit 1
			fill() { head -c 1M /dev/zero >"$scratch/fs/fill" 2>/dev/null; }
			row() {
				local file=$1 rc=0
				shift
				timeout 60 "$drover" "$@" >/dev/null 2>"$scratch/err" </dev/null || rc=$?
				[ "$rc" -eq 1 ] && grep -q "^drover: .*$file.*No space left" "$scratch/err" || { echo "$*: exit $rc"; cat "$scratch/err"; bad=1; }
				[ "$("$drover" ls -q | tr "\n" " ")" = "k-1 k-2 " ] || { echo "after $*:"; "$drover" ls; bad=1; }
				"$drover" audit >"$scratch/audit" || { cat "$scratch/audit"; bad=1; }
			}
			"$drover" up k -n 2 --backend fake --quiet && "$drover" down k || exit 1
			fill
			row clusters/new/new/failure up new --backend fake --quiet
			row clusters/k/k-1/owner up k-1 --backend fake --quiet
			row "clusters/run.*/failure" run -n 1 --backend fake -- true
			rm "$scratch/fs/fill"
			"$drover" up k --backend fake --quiet || exit 1
			fill
			row clusters/k/k-3/disk.qcow2 up k-3 --backend fake --quiet
			row "captures/.*/seed.iso" fork k copy
			rm "$scratch/fs/fill"
			"$drover" up k-3 --backend fake --quiet && "$drover" rm -f --all && exit $bad' _ "$scratch" "$drover"
	}
	ok "on a full disk each command names the file, leaves nothing half made, and goes on with room" full_rows
	# The same for images from a file and from a server, ssh-config, and the first member's keys, before which no guest starts:
	# its directories have room, the home has none. The disk has a boot record and nothing that it could start.
	www() {
		head -c "$1" /dev/zero >"$scratch/www/$2"
		printf '\372\353\376' | dd of="$scratch/www/$2" conv=notrunc status=none
		printf '\200\0\2\0\203\0\2\0\1\0\0\0\100\0\0\0' | dd of="$scratch/www/$2" bs=1 seek=446 conv=notrunc status=none
		printf '\125\252' | dd of="$scratch/www/$2" bs=1 seek=510 conv=notrunc status=none
		# what is no hole, or it takes no room
		head -c "$(($1 - 1024))" /dev/urandom | dd of="$scratch/www/$2" bs=1024 seek=1 conv=notrunc status=none
	}
	serve() {
		mkfifo "$scratch/port"
		python3 -c '
import functools, http.server, sys
class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *of): pass
s = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=sys.argv[1]))
print(s.server_port, flush=True)
s.serve_forever()' "$scratch/www" >"$scratch/port" 2>/dev/null &
		server=$!
		read -r port <"$scratch/port"
	}
	full_images() {
		local rc
		mkdir -p "$scratch/www" "$scratch/clusters" "$scratch/run"
		www 1048576 large.raw && www 131072 small.raw && serve || return 1
		unshare -m bash -c '
			scratch=$1 drover=$2 url=$3 bad=0
			mount -t tmpfs -o size=512k none "$scratch/fs" && export DROVER_HOME=$scratch/fs/home && mkdir -p "$DROVER_HOME/clusters" "$DROVER_HOME/run" || exit 1
			fill() { head -c 1M /dev/zero >"$scratch/fs/fill" 2>/dev/null; }
			row() {
				local pattern=$1 rc=0 left
				shift
				timeout 60 "$drover" "$@" >"$scratch/fs/out" 2>"$scratch/err" </dev/null || rc=$?
				[ "$rc" -eq 1 ] && grep -Eq "^drover: .*$pattern" "$scratch/err" || { echo "$*: exit $rc"; cat "$scratch/err"; bad=1; }
				left=$(ls "$DROVER_HOME/images"; "$drover" ls -q; "$drover" audit; find "$DROVER_HOME" -name ".*.tmp*" -o -name "*.part")
				[ -z "$left" ] || { echo "after $*: $left"; bad=1; }
			}
			images="the file system that holds $DROVER_HOME/images"
			for room in none little; do
				[ "$room" = little ] || fill
				row "$images/.mine.tmp.*/disk is full" image import "$scratch/www/large.raw" --name mine
				row "$images/.web.part is full" image import "$url/large.raw" --name web
				row "$images/.large.raw-.*part is full" up z --image "$url/large.raw" --backend qemu --quiet
				rm -f "$scratch/fs/fill"
			done
			"$drover" image import "$scratch/www/small.raw" --name mine && "$drover" image rm mine || exit 1
			"$drover" image import "$url/small.raw" --name web && mount --bind "$scratch/clusters" "$DROVER_HOME/clusters" &&
				mount --bind "$scratch/run" "$DROVER_HOME/run" || exit 1
			fill
			timeout 60 "$drover" up z --image web --backend qemu --quiet 2>"$scratch/err" </dev/null
			[ $? -eq 1 ] && grep -q "^drover: cannot write the SSH key $DROVER_HOME/id_ed25519: No space left" "$scratch/err" || { cat "$scratch/err"; bad=1; }
			left=$("$drover" ls -q; "$drover" audit; ls -A "$DROVER_HOME" | grep id_)
			[ -z "$left" ] || { echo "after keys: $left"; bad=1; }
			rm "$scratch/fs/fill"
			"$drover" up z --backend fake --quiet || exit 1
			fill
			"$drover" ssh-config z >"$scratch/fs/config" 2>"$scratch/err"
			[ $? -eq 1 ] && grep -q "^drover: cannot write to stdout: No space left" "$scratch/err" || { cat "$scratch/err"; bad=1; }
			"$drover" rm -f z
			exit $bad' _ "$scratch" "$drover" "http://127.0.0.1:$port"
		rc=$?
		kill "$server"
		return "$rc"
	}
	ok "on a full disk images from files and servers, keys and ssh-config name what does not fit and leave nothing half made" full_images
	readonly_home() {
		up keep && "$drover" down keep || return 1
		unshare -m bash -c '
			mount --bind "$DROVER_HOME" "$DROVER_HOME" && mount -o remount,bind,ro "$DROVER_HOME" || exit 1
			"$1" ls | grep -q "^keep .*stopped" || exit 1
			timeout 60 "$1" up keep --backend fake --quiet' _ "$drover" >"$scratch/ro" 2>&1
		local rc=$?
		cat "$scratch/ro"
		[ "$rc" -eq 1 ] && grep -q "^drover: .*$DROVER_HOME.*Read-only" "$scratch/ro"
	}
	ok "a read-only directory is named, and ls still lists" readonly_home
	ok "rm, when it can be written again" "$drover" rm -f keep
else
	for claim in "full disk" "read-only directory"; do
		n=$((n + 1))
		echo "ok $n - $claim # SKIP no mount namespace"
	done
fi
ok "nothing is left at the end" nothing_left

done_testing
