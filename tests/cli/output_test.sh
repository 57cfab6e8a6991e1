#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Where the command's output goes: streams that are full, closed, or no terminal.   output_test.sh path/to/drover
set -u
. "$(dirname "$0")/home.sh"

# said STATUS TEXT: how the last command ended, and the one line that it said
said() {
	[ "$ended" -eq "$1" ] && [ "$(cat "$home/err")" = "$2" ] && return
	echo "exit $ended: $(cat "$home/err")"
	return 1
}

# to_full ARGS..., to_closed ARGS...: leave $ended and $home/err
to_full() {
	ended=0
	timeout 60 "$drover" "$@" >/dev/full 2>"$home/err" </dev/null || ended=$?
}

to_closed() {
	ended=0
	timeout 60 "$drover" "$@" >&- 2>"$home/err" </dev/null || ended=$?
}

full="drover: cannot write to stdout: No space left on device"
closed="drover: cannot write to stdout: it is closed"

"$drover" up web -n 2 --quiet --backend fake >/dev/null
echo "a line of the helper" >>"$DROVER_HOME/helper-web-1.log"

to_full logs --helper web-1
ok "logs blames stdout, not the log, when stdout is full" said 1 "$full"
to_full logs --helper -f web-1
ok "logs -f does so too" said 1 "$full"
to_full forward web-1 0:80
ok "forward ends when nobody can learn its port" said 1 "$full"
mkfifo "$home/typed"
exec 5<>"$home/typed"
echo "echoed by the fake console" >&5
ended=0
timeout 60 "$drover" console web-1 >/dev/full 2>"$home/err" <&5 || ended=$?
exec 5>&-
ok "console blames stdout when that is full" said 1 "$full"

for command in help version ls 'ls --json' stats ssh-config 'up web' 'up --json web' 'events --for 9' 'logs --helper web-1' \
	'snapshot save web-1 point' 'snapshot ls web' 'forward web-1 0:80' audit 'image ls'; do
	# shellcheck disable=SC2086
	to_closed $command
	ok "drover $command is a failure when stdout is closed" said 1 "$closed"
done
for command in 'wait web' 'pause web-1' 'resume web-1'; do
	# shellcheck disable=SC2086
	to_closed $command
	ok "drover $command is a failure when stdout is closed" said 1 "drover: cannot write all of it to stdout"
done
to_closed run --quiet --backend fake -- true
ok "run, which prints nothing itself, does its work with stdout closed" said 0 ""
ok "ls prints nothing and goes on when stderr is closed" eval '"$drover" ls -q none web 2>&- | grep -qx web-1'

# no control codes where no terminal is
plain() {
	"$drover" "$@" >"$home/out" 2>&1 </dev/null || return 1
	[ -s "$home/out" ] && ! LC_ALL=C grep -q '[^[:print:][:blank:]]' "$home/out" || { cat -v "$home/out"; return 1; }
}
for command in help 'help up' ls stats ssh-config audit 'image ls' 'snapshot ls web' 'events --for 1' 'up web' 'restart web-2' \
	'up more -n 9 --backend fake' 'pause web-1' 'resume web-1' 'snapshot save web plain' 'reset web' 'down web'; do
	# shellcheck disable=SC2086
	ok "drover $command prints plain text where no terminal is" plain $command
done

done_testing
