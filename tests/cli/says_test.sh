#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What the command leaves behind, and what it tells and does not leave to be guessed.   says_test.sh path/to/drover
set -u
. "$(dirname "$0")/home.sh"
export DROVER_IMAGE_CACHE=$home/images

up() { "$drover" up "$@" --quiet --backend fake >/dev/null; }
down() { "$drover" down "$@" >/dev/null; }
rm_() { "$drover" rm -f "$@" >/dev/null; }
logs() { (cd "$DROVER_HOME" && echo helper-*.log); }
log_is_there() { [ "$(logs)" = "$1" ] || { logs; return 1; }; }
none='helper-*.log'

# --- the helper's log
kept_while_one_is_left() { up web -n 2 && rm_ web-1 && log_is_there helper-web-1.log && down web && log_is_there helper-web-1.log; }
ok "the helper's log stays while a member of the cluster is left" kept_while_one_is_left
gone_with_the_last() { rm_ web && log_is_there "$none"; }
ok "and goes with the last" gone_with_the_last
running() { up web -n 2 && rm_ web && log_is_there "$none"; }
ok "the log of a cluster that is removed while it runs goes" running
two_starts() { up web-2 && down web-2 && up web-1 && log_is_there "helper-web-1.log helper-web-2.log" && rm_ web && log_is_there "$none"; }
ok "so do those of all its starts" two_starts
found() { up a b && echo a line >>"$DROVER_HOME/helper-a.log" && [ "$("$drover" logs --helper b)" = "a line" ] && rm_ a b; }
ok "it is found by each member of the cluster, whatever their names" found
mixed() { up a b && rm_ a && log_is_there helper-a.log && rm_ b && log_is_there "$none"; }
ok "a log whose first member is removed goes with the helper that writes it" mixed
mixed_at_rest() { up a b && down a b && rm_ a && log_is_there "$none" && rm_ b; }
ok "or with the first member, when no helper does" mixed_at_rest
others() { up web webb && up x && rm_ web && rm_ webb && log_is_there helper-x.log && rm_ x; }
ok "the logs of other clusters stay" others
of_run() { "$drover" run -n 2 --quiet --backend fake -- true && log_is_there "$none"; }
ok "run leaves none" of_run
killed() { up web && kill -9 "$(cat "$DROVER_HOME/clusters/web/web/pid")" && rm_ web && log_is_there "$none"; }
ok "nor does a helper that was killed, once its members are removed" killed

# a helper that dies before it is ready
printf '#!/bin/sh\necho it cannot >&2\nexit 1\n' >"$home/broken-helper"
chmod +x "$home/broken-helper"
failed() {
	! DROVER_HELPER=$home/broken-helper "$drover" up bad --quiet --backend fake 2>"$home/err" || return 1
	grep -qx "hint: it may have said why in its log: $DROVER_HOME/helper-bad.log" "$home/err" &&
		grep -qx "it cannot" "$DROVER_HOME/helper-bad.log"
}
ok "the log of a helper that did not come up is there, and named" failed
not_swept() { up web && rm_ web && log_is_there helper-bad.log; }
ok "and other clusters' ends leave it alone" not_swept
pruned() { "$drover" prune && log_is_there "$none"; }
ok "prune removes it" pruned
ok "nothing is left" eval '[ -z "$("$drover" audit)" ] && [ "$(find "$DROVER_HOME" -type f -not -name .lock)" = "" ]'

# --- directories of the host are not forked: said before the backend is asked, which would hold the member first, and fake cannot
not_forked() {
	! "$drover" "$@" >"$home/out" 2>"$home/err" && [ ! -s "$home/out" ] &&
		grep -qE '^drover: (.*: )?dir has directories of the host \(--fixture, --mount\), and these are not forked$' "$home/err" ||
		{ cat "$home/out" "$home/err"; return 1; }
}
ok "a member has a directory of the host" up dir --mount "$home:/srv"
ok "a fork of it is refused" not_forked fork dir new
ok "so is a command on a copy" not_forked run --from dir -- true
ok "and its export" not_forked snapshot export dir "$home/file"
ok "which leaves no member, no capture and no file" eval \
	'[ "$("$drover" ls -q)" = dir ] && [ -z "$(find "$home" -name "file*" -o -path "*/captures/*" -not -name .lock)" ]'
ok "it goes" rm_ dir

# --- a size for a disk that there is not
mkdir -p "$DROVER_IMAGE_CACHE/mem"
echo kernel >"$DROVER_IMAGE_CACHE/mem/vmlinuz"
echo '{"name": "mem", "disk": null, "kernel": "vmlinuz", "provision": "credentials", "origin": "imported"}' >"$DROVER_IMAGE_CACHE/mem/image.json"
new_member() {
	DROVER_HELPER=$home/broken-helper "$drover" up m --image mem "$@" --quiet 2>"$home/err" # it need not boot for that
	grep -qx "drover: warning: image mem runs from memory: its members have no disk, and get none of the size asked for" "$home/err"
}
ok "up of an image without a disk says that --disk is for nothing" new_member --disk 20G
ok "and says nothing of it when no size is asked for" eval '! new_member && grep -q "ended before it was ready" "$home/err"'
mkdir -p "$DROVER_IMAGE_CACHE/vol"
qemu-img create -q -f qcow2 "$DROVER_IMAGE_CACHE/vol/disk.qcow2" 64M
echo '{"name": "vol", "disk": "disk.qcow2", "disk_format": "qcow2", "origin": "imported"}' >"$DROVER_IMAGE_CACHE/vol/image.json"
too_small() {
	! DROVER_HELPER=$home/broken-helper "$drover" up v --image vol --disk 63 -q 2>"$home/err" &&
		grep -qx "drover: image vol has a disk of 64 MB: a member's cannot be smaller" "$home/err" &&
		grep -qx "hint: ask for that or more, or leave the size out" "$home/err" && log_is_there helper-m.log
}
ok "a disk that is to be smaller than the image's is refused before a helper is started" too_small
large_enough() { ! DROVER_HELPER=$home/broken-helper "$drover" up v --image vol --disk 64 -q 2>"$home/err" && grep -q "ended before it was ready" "$home/err"; }
ok "one of just that size is not" large_enough
up m
python3 - "$DROVER_HOME/clusters/m/m/config.json" <<-'PY'
import json, sys
config = json.load(open(sys.argv[1]))
del config["disk_format"]
json.dump(config, open(sys.argv[1], "w"))
PY
running_member() { "$drover" up m --disk 20G 2>"$home/err" >/dev/null && grep -qx "note: m has no disk that could grow" "$home/err"; }
ok "up of a member without a disk that runs says so" running_member
restarted() { "$drover" restart m -q --disk 20G 2>"$home/err" >/dev/null && grep -qx "drover: warning: m has no disk that could grow" "$home/err"; }
ok "restart too" restarted
rm_ m

# --- words that cannot be meant
# refused TEXT ARGS...: exit status 2, one sentence with TEXT and where help is, nothing on stdout
refused() {
	local text=$1 status=0
	shift
	"$drover" "$@" >"$home/out" 2>"$home/err" </dev/null || status=$?
	[ "$status" -eq 2 ] && [ ! -s "$home/out" ] && [ "$(wc -l <"$home/err")" = 2 ] && head -n 1 "$home/err" | grep -qF -- "drover: $text" &&
		tail -n 1 "$home/err" | grep -q "^See 'drover help" || { echo "exit $status"; cat "$home/out" "$home/err"; return 1; }
}
up web -n 2
name="a name is 1 to 63 of a-z, 0-9 and '-'"
for bad in '' .. ../x Web wéb 'a b' web- "$(printf 'a%.0s' {1..64})"; do
	ok "the name '$bad' is refused for a member" refused "invalid name '$bad': $name" up "$bad" --backend fake
	ok "the name '$bad' is refused for a copy" refused "invalid name '$bad': $name" fork web "$bad"
	ok "the name '$bad' is refused for a point" refused "invalid name '$bad': $name" snapshot save web "$bad"
	ok "the name '$bad' is refused for a point that is loaded" refused "invalid name '$bad': $name" reset web "$bad"
	ok "the name '$bad' is refused for a point that is copied" refused "invalid name '$bad': $name" fork "web:$bad" new
	ok "the name '$bad' is refused for what is imported" refused "invalid name '$bad': $name" snapshot import /etc/passwd "$bad"
	ok "the name '$bad' is refused for a copy that a command runs on" refused "invalid name '$bad': $name" run --from web "$bad" -- true
	ok "the name '$bad' is refused for events" refused "invalid name '$bad': $name" events "$bad"
done
for bad in 0 -1 3x 1e3 '' 99999999999999999999; do
	ok "'$bad' members are refused" refused "option -n: '$bad' is not a number from 1 to 253" up web -n "$bad"
	ok "'$bad' members are refused of a run" refused "option -n: '$bad' is not a number from 1 to 253" run -n "$bad" -- true
	ok "'$bad' copies are refused" refused "option --count: '$bad' is not a number from 1 to 1000" fork web new --count "$bad"
	ok "'$bad' copies are refused of a file" refused "option -n: '$bad' is not a number from 1 to 1000" snapshot import file new -n "$bad"
	ok "'$bad' CPUs are refused" refused "option --cpus: '$bad' is not a number from 1 to 255" up web --cpus "$bad"
	ok "the port '$bad' is refused" refused "option --port: '$bad' is not a number from 1 to 65535" wait web --port "$bad"
	ok "'$bad' seconds are refused" refused "option --for: '$bad' is not a number from 1 to 1000000" events --for "$bad"
	ok "the port '$bad' is refused for forward" refused "'1:$bad' is not [ADDRESS:]PORT:PORT" forward web-1 "1:$bad"
done
ok "one member more than a network has addresses is refused" refused "option -n: '254' is not a number from 1 to 253" up web -n 254
ok "one copy more than can be is refused" refused "option -n: '1001' is not a number from 1 to 1000" fork web new -n 1001
ok "one CPU more than can be is refused" refused "option --cpus: '256' is not a number from 1 to 255" run --cpus 256 -- true
ok "and when it boots again" refused "option --cpus: '256' is not a number from 1 to 255" restart web --cpus 256
for bad in 0 -5 2X 1.5G junk 99T ''; do
	ok "a memory of '$bad' is refused" refused "option --mem: '$bad' is not a size: 1 to 16T, like 512 (MB) or 2G" up web --mem "$bad"
done
ok "a word that is none of an option's is refused with those that are" \
	refused "option --state: 'up' is not running, paused, stopped or error" wait web --state up
ok "no part of one is taken for it" refused "option -o: 'jso' is not table or json" ls -o jso
ok "nor two" refused "option -o: 'table|json' is not table or json" ls -o 'table|json'
ok "several letters of which one is no option are shown whole" refused "unknown option '-w' in '-web'" up -web
ok "run without -- says where that belongs" refused "run needs a command after '--': drover run -- make" run make check
ok "a digest that cannot be one is refused before the file is read" \
	refused "option --sha256: 'abc' is not 64 hexadecimal digits" image import /etc/passwd --name it --sha256 abc
no_name_to_make() { rm_ --all && ! "$drover" down .. 2>"$home/err" && grep -qx "hint: there are none yet; 'drover up web' makes one" "$home/err"; }
ok "a hint offers no name that cannot be" no_name_to_make
up web
keeps() { "$drover" up web "$@" 2>"$home/err" >/dev/null && grep -qx "note: web runs already and keeps its network: --network is for a start" "$home/err"; }
ok "up of what runs says that its network stays" keeps --network host
keeps_firmware() { "$drover" up web --firmware uefi 2>"$home/err" >/dev/null && grep -qx "note: web is there already and keeps its firmware: --firmware is for new members" "$home/err"; }
ok "and its firmware" keeps_firmware
noted_of_web() { # TEXT ARGS...
	local text=$1
	shift
	"$drover" up web "$@" 2>"$home/err" >/dev/null && grep -qx "note: web $text" "$home/err" || { cat "$home/err"; return 1; }
}
for words in "--backend qemu" "--backend cloud-hypervisor --hypervisor /bin/true" "--hypervisor /bin/true"; do
	ok "up of what runs says that its backend stays, for $words" \
		noted_of_web "runs already and keeps its backend: --backend and --hypervisor are for a start" $words
done
unnoted() { "$drover" up web --backend auto 2>"$home/err" >/dev/null && [ ! -s "$home/err" ]; }
ok "but not for --backend auto, which is what it has" unnoted
ok "up of what runs says that it starts from no template" noted_of_web "is there already: --warm is for new members" --warm
down web
ok "up of what is stopped says so too, and boots it" noted_of_web "is there already: --warm is for new members" --warm
for backend in qemu fake; do
	ok "a program for the backend $backend, which takes none, is refused by up" \
		refused "--hypervisor names the program cloud-hypervisor, and the backend is to be $backend" up new --image mem --backend "$backend" --hypervisor /bin/true
	ok "and by run" \
		refused "--hypervisor names the program cloud-hypervisor, and the backend is to be $backend" run --image mem --backend "$backend" --hypervisor /bin/true -- true
done
no_program() { # BACKEND NAME...
	local backend=$1
	shift
	! "$drover" up "$@" -q --hypervisor /bin/true 2>"$home/err" &&
		grep -qx "drover: the backend is $backend, which takes no --hypervisor: that is the program cloud-hypervisor" "$home/err" &&
		grep -qx "hint: for new members, --backend cloud-hypervisor goes with it" "$home/err" || { cat "$home/err"; return 1; }
}
ok "one for a new member whose backend is left out is refused" no_program qemu new --image mem
ok "one for a member that joins others is" no_program fake web web-2
down web
ok "one for a stopped member is" no_program fake web
ok "none of these made or started a member" eval '[ "$("$drover" ls -q)" = web ] && "$drover" ls | grep -q "^web .*stopped"'
rm_ web

# --- a point is of the members that run
saved() { # NOTES CLUSTER...
	local notes=$1
	shift
	"$drover" snapshot save "$@" >"$home/out" 2>"$home/err" && [ "$(cat "$home/err")" = "$notes" ] || { cat "$home/err"; return 1; }
}
up web -n 4
up other
down other
ok "nothing is said when all members are saved" saved "" web all
down web-2 web-4
ok "save names the members that do not run, and no other" saved "note: web-2 does not run: the point is without it
note: web-4 does not run: the point is without it" web some
ok "also when a member names the cluster" saved "note: web-2 does not run: the point is without it
note: web-4 does not run: the point is without it" web-3 some
without() { # WORD ARGS...: fake has nothing to copy, and the note comes first
	local word=$1
	shift
	! "$drover" "$@" >"$home/out" 2>"$home/err" &&
		[ "$(grep '^note:' "$home/err")" = "note: web-2 does not run: the $word is without it
note: web-4 does not run: the $word is without it" ] || { cat "$home/err"; return 1; }
}
ok "a fork names them" without copy fork web new
ok "an export does" without file snapshot export web "$home/file"
ok "and so does run on a copy" without copy run --from web -- true
up a b
down b
ok "and of clusters of several names" saved "note: b does not run: the point is without it" a some
rm_ --all
up web
noted() { "$drover" events --for 1 wbe 2>"$home/err" >/dev/null && grep -qx "note: no member or cluster is called 'wbe' yet" "$home/err"; }
ok "events says that it waits for a name that there is not" noted
not_noted() { "$drover" events --for 1 web 2>"$home/err" >/dev/null && [ ! -s "$home/err" ]; }
ok "and nothing of one that there is" not_noted
fits() {
	local c wide=
	for c in $("$drover" help | sed -n 's/^  \([a-z-]*\)  .*/\1/p'); do
		wide+=$("$drover" help "$c" | awk -v c="$c" 'length > 80 && !/^usage:|^       drover/ { print c ": " $0 }')
	done
	[ -z "$wide" ] || { echo "$wide"; return 1; }
}
ok "the options in help fit into 80 columns" fits
alternatives() { [ "$("$drover" help snapshot | grep -c '^\(usage:\|      \) drover snapshot [a-z]* ')" = 6 ]; }
ok "each way to use a command has a line in help" alternatives
ok "help of a command's verb is that of the command" eval '"$drover" help snapshot save | grep -q "drover snapshot load"'
ok "help of a command and another word is refused" refused "help takes one command" help snapshot frob
ok "alternatives inside of brackets do not" eval '[ "$("$drover" help wait | grep -c "drover wait")" = 1 ]'

done_testing
