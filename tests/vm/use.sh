#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What people do with a running member, with a real guest of the image tiny.
cd "$(dirname "$0")" && . ./lib.sh
rmdir "$home" && home="$home 100%t \"it's\"" && mkdir "$home" && export DROVER_HOME=$home # what ssh, libssh and shells split or expand

plain_ssh() {
	"$DROVER" ssh-config >"$home/config" && [ "$(cd / && env -u DROVER_HOME ssh -F "$home/config" u-1 hostname)" = u-1 ]
}
is_frozen() { # a command has no answer while the member is paused, and gets it when the member runs on
	"$DROVER" pause u-1 && "$DROVER" ls u-1 | grep -q paused || return 1
	! "$DROVER" exec -t 2 u-1 -- true || { echo "a paused guest ran a command"; return 1; }
	"$DROVER" resume u-1 && "$DROVER" exec u-1 -- true
}
console_answers() { # the shell that the image has there
	coproc CONSOLE { exec "$DROVER" console u-1; }
	local pid=$CONSOLE_PID line='' typed shown
	exec {typed}>&"${CONSOLE[1]}" {shown}<&"${CONSOLE[0]}"
	printf 'echo x$((6*7))x\n' >&"$typed"
	until [[ $line == *x42x* ]]; do
		read -r -t $patience line <&"$shown" || return 1
		echo "$line"
	done
	printf '~.' >&"$typed"
	ended "$pid"
}
copies_a_tree() { # there, and back under another name: the same names, modes, links and bytes
	mkdir -p "$home/tree/sub" && seq 1 200000 >"$home/tree/sub/numbers" && chmod 640 "$home/tree/sub/numbers" &&
		printf x >"$home/tree/a name with ' in it" && chmod 751 "$home/tree/a name with ' in it" &&
		ln -s sub/numbers "$home/tree/link" && chmod 700 "$home/tree/sub" || return 1
	"$DROVER" cp "$home/tree" u-1:/tmp/deep/er && "$DROVER" cp u-1:/tmp/deep/er "$home/back" || return 1
	diff -r "$home/tree" "$home/back" &&
		diff <(cd "$home/tree" && find . -printf '%P %m %l\n' | sort) <(cd "$home/back" && find . -printf '%P %m %l\n' | sort) &&
		[ "$("$DROVER" exec u-1 -- stat -c %a /tmp/deep/er/sub/numbers)" = 640 ]
}
cp_without_stdin() {
	"$DROVER" cp "$home/tree/sub/numbers" u-1:/tmp/closed <&- && "$DROVER" exec u-1 -- cat /tmp/closed | cmp - "$home/tree/sub/numbers"
}
copies_a_file_into_a_folder() {
	mkdir -p "$home/in" && "$DROVER" cp u-1:/tmp/deep/er/sub/numbers "$home/in/" && cmp "$home/in/numbers" "$home/tree/sub/numbers"
}
copies_a_file_here() { # "." is a folder with a name, on the host
	(cd "$home/in" && rm -f numbers && "$DROVER" cp u-1:/tmp/deep/er/sub/numbers . && cmp numbers "$home/tree/sub/numbers" &&
		"$DROVER" cp . u-1:/tmp/here/) && "$DROVER" exec u-1 -- test -f /tmp/here/in/numbers
}
head_reads_one_line() { # and the command that the rest is for ends as by SIGPIPE, without a word
	local status
	"$DROVER" exec u-1 -- seq 1 1000000 2>"$home/said" | head -n 1 >"$home/first"
	status=${PIPESTATUS[0]}
	echo "$status, $(cat "$home/said")"
	[ "$status" -eq 141 ] && [ "$(cat "$home/first")" = 1 ] && [ ! -s "$home/said" ]
}
speaks_german() { # a tar that answers in English only when it is asked to
	"$DROVER" exec u-1 -- sh -c 'mv /bin/tar /bin/tar.real && cat >/bin/tar && chmod +x /bin/tar' <<-'TAR'
		#!/bin/sh
		[ "$LC_ALL" = C ] || { echo "tar: Datei oder Verzeichnis nicht gefunden" >&2; exit 2; }
		exec busybox tar "$@"
	TAR
}
without_answer() {
	"$DROVER" pause u-1 && ! "$DROVER" exec -t 2 u-1 -- true 2>"$home/said"
	local rc=$?
	cat "$home/said"
	"$DROVER" resume u-1 && [ "$rc" -eq 0 ] && grep -qx 'hint: u-1 is paused: drover resume u-1' "$home/said"
}
exec_is_ended() { # while the command runs in the guest; the next one has a session as before
	coproc RUNS { exec "$DROVER" exec u-1 -- sh -c 'echo begun; exec sleep 600'; }
	local pid=$RUNS_PID line rc=0
	read -r -t $patience line <&"${RUNS[0]}" && [ "$line" = begun ] && kill -TERM "$pid" || return 1
	wait "$pid" || rc=$?
	[ "$rc" -eq 143 ] && "$DROVER" exec u-1 -- true
}
# While the guest stands still, so that it cannot end by itself. (Not killed from here: a shell that has a trap set loses what
# comes to its child before that has become the program.)
cp_is_ended() {
	local rc=0
	"$DROVER" pause u-1 || return 1
	timeout --foreground --preserve-status 2 "$DROVER" cp "$home/tree" u-1:/tmp/late || rc=$?
	"$DROVER" resume u-1 && [ "$rc" -eq 143 ] && "$DROVER" cp "$home/tree" u-1:/tmp/late
}
endless() { "$DROVER" exec u-1 -- truncate -s 8000M /tmp/endless; } # a hole: tar sends its zeros
over_a_port() { # all bytes, there and back, through a real sshd
	coproc FORWARD { exec "$DROVER" forward u-1 0:22; }
	local pid=$FORWARD_PID port line
	read -r -t $patience line <&"${FORWARD[0]}" && port=${line#*:} && port=${port%% *} || return 1
	seq 1 300000 | ssh -F "$home/config" -o ProxyCommand=none -o ProxyUseFdpass=no -o HostName=127.0.0.1 -p "$port" u-1 cat |
		cmp - <(seq 1 300000) || return 1
	kill -TERM "$pid"
	wait "$pid"
	[ $? -eq 143 ]
}
evil_link() {
	"$DROVER" exec u-1 -- sh -c 'mkdir -p /tmp/evil && ln -sf /etc/passwd /tmp/evil/x' || return 1
	"$DROVER" cp u-1:/tmp/evil "$home/evil"
}

ok "image tiny is built or there" "$DROVER" image build tiny
ok "a member boots" "$DROVER" up u-1 --image tiny --mem 256M --cpus 1
ok "plain ssh reaches it with what ssh-config prints, from anywhere" plain_ssh
ok "pause freezes it, resume lets it run on" is_frozen
ok "console types to the shell on the serial line and shows its answer; ~. leaves" console_answers
ok "forward carries ssh through a port of the host, and ends by SIGTERM" over_a_port
ok "cp of a tree there and back" copies_a_tree
ok "cp of a file into a folder" copies_a_file_into_a_folder
ok "cp to '.' and of it" copies_a_file_here
ok "exec into head" head_reads_one_line
fails "exec whose output the disk does not take" 1 "cannot write to stdout: No space left" sh -c '"$0" exec u-1 -- seq 3 >/dev/full' "$DROVER"
ok "a command that waits for a paused member says that it is paused" without_answer
ok "a terminal that is resized is so in the guest" timeout 300 ./resize.py "$DROVER" u-1
ok "cp without a stdin, whose place its pipe then takes" cp_without_stdin
ok "exec ends by SIGTERM with 143" exec_is_ended
ok "cp ends by SIGTERM with 143" cp_is_ended
ok "the guest has a file that takes long" endless
fails "cp of it ends at its deadline" 1 "^drover: u-1: not done within 3 s$" "$DROVER" cp -t 3 u-1:/tmp/endless "$home/endless"
rm -rf "$home/endless"
fails "exec ends at its deadline, which is said" 1 "^drover: u-1: not done within 1 s$" "$DROVER" exec -t 1 u-1 -- sleep 600
fails "and how to have more" 1 "^hint: that is the limit of --timeout: give it more, or leave it out$" "$DROVER" exec -t 1 u-1 -- sleep 600
fails "a command that is not there is 127, as of a shell" 127 "frobnicate" "$DROVER" exec u-1 -- frobnicate
fails "a command that a signal ended is 128 and the signal" 137 "" "$DROVER" exec u-1 -- sh -c 'kill -9 $$'
mkfifo "$home/pipe"
fails "cp of a pipe of the host" 1 "/pipe is no file, folder or link: nothing else is copied$" "$DROVER" cp "$home/pipe" u-1:/tmp/pipe
fails "cp of a device of the guest" 1 "the guest's 'zero' is no file, folder or link" "$DROVER" cp u-1:/dev/zero "$home/none"
fails "cp of what is not there" 1 "drover: there is no /tmp/no-such in u-1$" "$DROVER" cp u-1:/tmp/no-such "$home/none"
ok "the guest's tar gets another language" speaks_german
fails "cp of what is not there, in a guest of another language" 1 "drover: there is no /tmp/no-such in u-1$" \
	"$DROVER" cp u-1:/tmp/no-such "$home/none"
fails "cp refuses a link out of the tree" 1 "link to '/etc/passwd', out of the tree: refused" evil_link
fails "cp to a folder that the guest cannot make" 1 "tar in u-1 ended with 1: .*proc" "$DROVER" cp "$home/tree" u-1:/proc/x/y
ok "each field of fork --json is in its page" documented fork u copy --json
ok "the copy runs" "$DROVER" exec copy-1 -- true
ok "rm of the copy" "$DROVER" rm -f copy
ok "its SSH server goes" "$DROVER" exec u-1 -- sh -c 'chmod -x /usr/sbin/dropbear
	for p in /proc/[0-9]*; do ! grep -q "(dropbear) . 1 " "$p/stat" || { kill "${p#/proc/}"; break; }; done'
fails "which exec says, and where to look" 1 "^hint: whether its SSH server runs, .*: drover console u-1, drover logs u-1$" \
	"$DROVER" exec u-1 -- true
fails "and ssh" 255 "^hint: whether its SSH server runs" "$DROVER" ssh u-1 -- true
ok "kill takes its power away" "$DROVER" kill u-1
ok "nothing runs" nothing_left
ok "it boots again from its disk" "$DROVER" up u-1
ok "ssh-config's file of before still reaches it" \
	bash -c '[ "$(ssh -F "$0/config" u-1 hostname)" = u-1 ]' "$home"
ok "rm of it" "$DROVER" rm -f u
ok "nothing is left" nothing_left
done_testing
