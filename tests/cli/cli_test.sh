#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The command's door: bad input gets exit code 2 or 1 and a sentence on stderr; good input does its work over the fake
# backend, which boots nothing.   cli_test.sh path/to/drover
set -u
. "$(dirname "$0")/home.sh"

# result STATUS CLAIM: what the last run said is shown when it failed
result() {
	tap_result "$1" "$2" && return
	printf '# exit %s\n' "$status"
	sed 's/^/# out: /' "$home/out"
	sed 's/^/# err: /' "$home/err"
}

# run ARGS...: leaves $status, $home/out, $home/err
run() {
	status=0
	timeout 60 "$drover" "$@" >"$home/out" 2>"$home/err" </dev/null || status=$?
}

# refuses STATUS TEXT ARGS...: exit status and a sentence with TEXT on stderr, nothing on stdout
refuses() {
	local want=$1 text=$2
	shift 2
	run "$@"
	[ "$status" -eq "$want" ] && grep -qF -- "$text" "$home/err" && [ ! -s "$home/out" ] &&
		head -n 1 "$home/err" | grep -q '^drover: '
	result $? "drover $* ends with $want and says: $text"
}

# does TEXT ARGS...: exit status 0 and TEXT on stdout
does() {
	local text=$1
	shift
	run "$@"
	[ "$status" -eq 0 ] && grep -qE -- "$text" "$home/out"
	result $? "drover $* prints $text"
}

# documents COMMAND: every field of the JSON in $home/out stands in the command's page
documents() {
	"$(dirname "$0")/../documented.py" "$(dirname "$0")/../../man/drover-$1.1.scd" <"$home/out" >>"$home/err"
}

# documented COMMAND ARGS...: every field of its JSON stands in its page
documented() {
	run "$@"
	[ "$status" -le 1 ] && documents "$1"
	result $? "each field of drover $* is in its page"
}

# begin ARGS...: leaves the first line of what goes on until it is ended, in $home/out
begin() {
	local line= pid
	exec 3< <(exec "$drover" "$@" 2>"$home/err" </dev/null)
	pid=$!
	read -r -t $patience line <&3
	kill "$pid"
	exec 3<&-
	printf '%s\n' "$line" >"$home/out"
}

# --- usage
refuses 2 "which command?"
refuses 2 "--previous goes with neither --helper nor --follow" logs -p -f web
refuses 2 "did you mean 'exec'?" exce
refuses 2 "there is no command 'frobnicate'" frobnicate
refuses 2 "there is no command 'start': here it is 'up'" start web
refuses 2 "did you mean 'forward'?" help forwrad
refuses 2 "help takes one command" help up down
refuses 2 "unknown option '--memory'; did you mean '--mem'?" up --memory 1G web
refuses 2 "unknown option '--imgae'; did you mean '--image'?" up --imgae tiny web
refuses 2 "unknown option '--frob': options follow the command" --frob
refuses 2 "unknown option '--frob'" up --frob web
refuses 2 "See 'drover help up'" up --frob web
refuses 2 "unknown option '-x'" up -x web
refuses 2 "option --mem needs a value" up web --mem
refuses 2 "option --mem: '12Q' is not a size" up web --mem 12Q
refuses 2 "option --mem: '0' is not a size" up web --mem=0
refuses 1 "hint: it is in MB: 2 GB are 2048" up web --mem 2
(export DROVER_HOME=/proc/x && run ls; [ "$status" = 1 ] && grep -q '^hint: set DROVER_HOME to a folder that is yours' "$home/err")
result $? "a state directory that cannot be made is said, with what to set"
refuses 2 "option --mem: '99999999999999999999' is not a size" up web --mem 99999999999999999999
refuses 2 "option --disk: '1P' is not a size: 1 to 16T" up web --disk 1P
refuses 1 "of memory: this host has" up web --backend fake --mem 16T
refuses 1 "MB are available now: ask for less than that" run --backend fake --mem 16T -- true
refuses 2 "option --cpus: 'two' is not a number" up web --cpus two
refuses 2 "option --cpus: '-1' is not a number" up web --cpus=-1
refuses 2 "option -n: '0' is not a number" up web -n 0
refuses 2 "option --image: the value is empty" up web --image ""
refuses 2 "option --fixture: '/tmp' is not HOST:GUEST" up web --fixture /tmp
refuses 2 "option --fixture: '/tmp:data' is not HOST:GUEST" up web --fixture /tmp:data
refuses 2 "option --fixture: ':/data' is not HOST:GUEST" run --fixture :/data -- true
refuses 2 "option --network: 'lan' is not private or host" up web --backend fake --network lan
refuses 1 "backend 'fake' has no network on the host" up web --backend fake --network host
refuses 2 "option --json takes no value" up web --json=yes
refuses 2 "option -n takes exactly one prefix" up -n 2 web db
refuses 2 "up needs the name" up
refuses 2 "Web_1" up Web_1
refuses 2 "../x" up ../x
refuses 2 "'web' is named twice" up web db web
refuses 2 "exec needs the name" exec
refuses 2 "exec needs a command" exec web
refuses 2 "run needs a command" run -n 2
refuses 2 "ssh needs the name" ssh
refuses 2 "down needs a name" down
refuses 2 "--all takes no names" down --all web
refuses 2 "rm needs a name" rm
refuses 2 "logs needs the name" logs
refuses 2 "is not table or json" ls -o yaml
refuses 2 "image needs one of" image
refuses 2 "image cannot 'eat'" image eat
refuses 2 "needs option --name" image import /x
refuses 2 "'A b' cannot be an image's name" image import /etc/hosts --name "A b"
refuses 2 "is for image import only" image ls --name x
refuses 2 "audit takes no names" audit web
refuses 2 "prune takes no names" prune web
refuses 2 "'70000' is not a port" dial web 70000
refuses 2 "pause needs a name" pause
refuses 2 "snapshot needs one of" snapshot
refuses 2 "snapshot save needs a cluster and a point" snapshot save web
refuses 2 "snapshot cannot 'frob'" snapshot frob
refuses 2 "snapshot export needs a cluster and a file" snapshot export web
refuses 2 "snapshot import needs a file, and a name" snapshot import file
refuses 1 "cannot read /nowhere/file: No such file" snapshot import /nowhere/file new
refuses 1 "this is not a file of 'drover snapshot export'" snapshot import /etc/passwd new
refuses 2 "run --from makes a copy as it is" run --from web -n 2 -- true
refuses 2 "run --from takes one name" run --from web a b -- true
refuses 1 "no member or cluster is called 'web'" run --from web -- true
refuses 2 "reset needs a cluster" reset
refuses 2 "fork needs a cluster, and a name" fork web
refuses 1 "no member or cluster is called 'nope'" fork nope new
does '^usage: drover fork' help fork
does '^usage: drover snapshot' help snapshot
does '^usage: drover reset' help reset
refuses 1 "no member or cluster is called 'nope'" reset nope
refuses 2 "forward needs the name" forward web
refuses 2 "'80' is not [ADDRESS:]PORT:PORT, like 8080:80" forward web 80
refuses 2 "'80:0' is not" forward web 80:0
refuses 2 "':80:80' is not" forward web :80:80
refuses 2 "'::1:80:80' is not" forward web ::1:80:80
refuses 2 "'[]:80:80' is not" forward web []:80:80
refuses 2 "cp needs a source" cp web:/x
refuses 2 "one path of the host and one like NAME:/PATH" cp a b
refuses 2 "one path of the host and one like NAME:/PATH" cp web-1:/a web-2:/b
refuses 2 "'etc/passwd' is not" cp web:etc/passwd .
refuses 2 "resume needs a name" resume
refuses 2 "kill needs a name" kill
refuses 2 "console needs the name" console
refuses 2 "wait needs a name" wait
refuses 2 "wait is for one of" wait web --port 80 --state stopped
refuses 2 "option --port: '0' is not a number from 1 to 65535" wait web --port 0
refuses 2 "option --state: 'happy' is not" wait web --state happy
refuses 2 "option -t: '0'" wait web -t 0
refuses 2 "Web_1" events Web_1
refuses 2 "net needs to know what" net
refuses 2 "net cannot 'eat'" net eat web
refuses 2 "net exec needs the name" net exec
refuses 2 "net exec needs a command" net exec web
refuses 2 "net exec needs a command" net exec web --
refuses 2 "doctor takes no names" doctor web
refuses 2 "timeline needs the name" timeline
refuses 2 "there is no command 'nope'" help nope

# --- what is not there
refuses 1 "no member or cluster is called 'nope'" down nope
refuses 1 "no member or cluster is called 'nope'" rm -f nope
refuses 1 "no member is called 'nope'" logs nope
refuses 1 "hint: there are none yet; 'drover up nope' makes one" logs nope
refuses 1 "no member is called 'nope'" ssh nope
refuses 1 "nope" exec nope -- true
refuses 1 "nope" dial nope 22
refuses 1 "no member or cluster is called 'nope'" pause nope
refuses 1 "no member or cluster is called 'nope'" kill nope
refuses 1 "no member or cluster is called 'nope'" ssh-config nope
refuses 1 "nope" console nope
refuses 1 "no member or cluster is called 'nope'" wait nope
refuses 1 "no member or cluster is called 'nope'" net exec nope true
refuses 1 "no member or cluster is called 'nope'" wait nope --port 80
refuses 1 "nope" forward nope 0:80
refuses 1 "nope" cp /etc/hostname nope:/x
refuses 1 "no-such-image" image rm no-such-image
refuses 2 "option --firmware: 'coreboot' is not auto, bios or uefi" up web --firmware coreboot
refuses 1 "--firmware is for qemu" up web --backend cloud-hypervisor --hypervisor /bin/true --firmware uefi
refuses 2 "option --backend: 'vbox' is not auto, qemu, cloud-hypervisor or fake" up web --backend vbox
unset DROVER_HYPERVISOR
if ! command -v cloud-hypervisor >/dev/null; then
	refuses 1 "cloud-hypervisor is not installed: there is none in PATH" up web --backend cloud-hypervisor
	refuses 1 "version 41 or newer" up web --backend cloud-hypervisor
fi
refuses 1 "there is no program /nowhere/ch" up web --backend cloud-hypervisor --hypervisor /nowhere/ch

# --- help
does '^drover [0-9]' version
does '^drover [0-9]' --version
does '^Start and stop:' help
does '^Start and stop:' --help
does '^  "version": "[0-9.]+"$' version --json
does '--image' help up
does '--image' up --help
does '^usage: drover exec ' exec -h
for c in timeline up ls stats top events wait ssh ssh-config exec cp run logs console forward net pause resume kill down rm image audit prune doctor version help; do
	does "^usage: drover $c" help "$c"
done
does '^NAME +STATE +ADDRESS' ls
does '^\[\]$' ls --json
does '^NAME +CACHED' image ls

# --- a host on which things are missing
mkdir "$home/few"
printf '#!/bin/sh\necho QEMU emulator version 6.2.0\n' >"$home/few/qemu-system-x86_64"
printf '#!/bin/sh\n' >"$home/few/apt-get"
chmod +x "$home/few/"*
status=0
timeout 60 env PATH="$home/few" "$drover" doctor >"$home/out" 2>"$home/err" || status=$?
[ "$status" -eq 1 ] && grep -qE '^missing +qemu-img +not installed$' "$home/out" &&
	grep -qE '^ +-> as root: apt-get install qemu-utils$' "$home/out" &&
	grep -qE '^missing +qemu-system-x86_64 +QEMU emulator version 6.2.0: older than 7.2$' "$home/out" &&
	grep -qE '^warning +cloud-hypervisor ' "$home/out" && grep -qE '^ok +store +[0-9]+ MB free in ' "$home/out" &&
	grep -qE 'of what every cluster needs are missing$' "$home/err"
result $? "doctor names each program that is missing or old and the command that mends it, and ends with 1"
status=0
DROVER_HELPER=$home/few/apt-get timeout 60 "$drover" doctor --json >"$home/out" 2>"$home/err" || status=$?
python3 - "$home/out" <<-'PY'
import json, sys
rows = json.load(open(sys.argv[1]))
assert all(set(r) == {"name", "state", "found", "fix"} for r in rows), rows
assert all(r["state"] in ("ok", "warning", "missing") and r["found"] for r in rows), rows
assert all(bool(r["fix"]) == (r["state"] != "ok") for r in rows), rows
assert [r for r in rows if r["name"] == "helper" and "not drover's helper" in r["found"]], rows
assert {"helper", "qemu-img", "store", "images", "sockets"} <= {r["name"] for r in rows}, rows
PY
result $? "doctor --json has name, state, found and fix of each, and a fix where one is needed"

# --- work, over the fake backend
if [ -z "${DROVER_TEST_NO_FAKE:-}" ]; then
	does '^web-1 .*drover ssh web-1$' up web -n 2 --backend fake
	does '^web-1 .*running already' up web -n 2 --backend fake
	does '^web-3 .*drover ssh web-3$' up web-1 web-3 --backend fake
	does '^web-3 +running' ls
	does '"already_running":true' up web-1 --json --backend fake
	documented ls --json
	documented image ls --json
	documented stats --json
	documented audit --json
	documented doctor --json
	begin events --json && documents events
	result $? "each field of drover events --json is in its page"
	"$drover" events --json --for 60 >/dev/full 2>"$home/err"
	[ $? -eq 1 ] && grep -qE '^drover: cannot write (all of it )?to stdout(: No space left.*)?$' "$home/err"
	result $? "what cannot be written is said, without a wrong reason"
	documented wait --json web
	documented wait --json --port 80 web-1
	does '^\{"member":"web-1","port":80\}$' wait --json --port 80 web-1
	documented up web -n 2 --json --backend fake
	does '^web-1 +0\.0 s +0 ' stats
	does '"net_sent_bytes": 0' stats --json web-2
	does '^web-2: port 80 is open$' wait web --port 80
	does '^web-2: running$' wait web-2
	refuses 1 "web-1: it was not paused in time" wait web-1 --state paused --timeout 1
	refuses 2 "option --console: '(' is no regular expression" wait web-1 --console '('
	refuses 1 "backend 'fake' runs no commands" wait web-1 --command true
	begin events web-1 && grep -qE '^[0-9:.]+  web-1 +state running 203\.0\.113\.' "$home/out"
	result $? "events tells the time, the member, its state and its address"
	run events --for 1 && [ "$status" -eq 0 ]
	result $? "events --for 1 ends by itself"
	mkfifo "$home/events"
	"$drover" events --json web-3 new >"$home/events" 2>"$home/err" &
	listener=$!
	exec 7<"$home/events"
	read -r -t $patience line <&7
	result $? "events --json tells the member first"
	does '^web-2: paused$' pause web
	documented pause web --json
	documented resume web --json
	does '' pause web
	does '^web-2 .*running already' up web-2
	grep -qx "note: web-2 is paused: .drover resume web-2. lets it run on" "$home/err"
	result $? "up says of a member that is paused what lets it run on"
	does '^web-1 +paused' ls
	does '^web: saved as clean, held for' snapshot save web clean
	does '^web-2: saved as other, held for' snapshot save web-2 other
	documented snapshot ls web --json
	documented snapshot save web more --json
	documented reset web more --json
	documented snapshot rm web more --json
	does '^clean ' snapshot ls web
	run snapshot ls -q web && [ "$(tr '\n' ' ' <"$home/out")" = "other clean " ]
	result $? "snapshot ls -q tells the names, the last saved first"
	refuses 1 "backend 'fake' cannot fork a running VM" fork web new
	refuses 1 "backend 'fake' cannot fork a running VM" run --from web -- true
	refuses 1 "cannot write $home: Is a directory" snapshot export web "$home"
	refuses 1 "cannot write $home/none/file: No such file" snapshot export web "$home/none/file"
	refuses 1 "web-1 is paused, and a key is to be let in" snapshot export web "$home/file"
	refuses 1 "web-1 is paused, and a key is to be let in" snapshot export web /dev/null
	[ -c /dev/null ] && [ -z "$(find "$home" -name 'file*' -o -path '*/captures/*' -not -name .lock)" ]
	result $? "a refused export leaves nothing"
	run ls && ! grep -q new "$home/out" && ! find "$DROVER_HOME/clusters" -name 'new*' | grep -q .
	result $? "a refused fork leaves nothing"
	refuses 1 "there is a member 'web-1' already" fork web web
	does '^web: put back' reset web
	does '^web: put back' snapshot load web clean
	refuses 1 "the cluster has no point 'nope'" reset web nope
	refuses 2 "invalid name 'A b'" snapshot save web "A b"
	does '^web: other removed' snapshot rm web other
	does '^web: clean removed' snapshot rm web clean
	refuses 1 "the cluster has no point" reset web
	[ "$(sed -n 2p "$home/err")" = "hint: save one first: drover snapshot save CLUSTER POINT" ]
	result $? "the hint stands behind the sentence, on a line of its own"
	does '^web-1: running$' resume web
	does '^web-1 +running' ls
	refuses 2 "option --cpus: '999' is not a number from 1 to 255" up web-1 --cpus 999
	refuses 2 "option --cpus: '999' is not a number from 1 to 255" restart web-1 --cpus 999
	refuses 1 "of memory: this host has" restart web-1 --mem 16T
	refuses 1 "the disk of web-1 has 10240 MB: it can grow, not shrink" restart web-1 --disk 5G
	does '^web-1 +running' ls web-1 # which none of these has stopped
	run up web-1 --backend fake --fixture "$home:/data"
	grep -qx "note: web-1 is there already and keeps its directories of the host: --fixture and --mount are for new members" "$home/err"
	result $? "up says that a member gets no other directories of the host"
	for command in help version 'ls' 'ls -q' 'ls --json' 'image ls' 'image ls --json' stats 'stats --json' 'wait web-2' \
		'wait --json web-2' 'wait --port 80 web-2' 'audit --json' 'doctor' ssh-config 'pause web-2' 'resume web-2' \
		'pause --json web-2' 'resume --json web-2' 'up web-2' 'up --json web-2' 'snapshot save web-2 full' 'snapshot ls web-2' \
		'run --json --backend fake -- true' 'snapshot rm web-2 full' 'down web-2' 'up --json web-2'; do
		# shellcheck disable=SC2086
		timeout 60 "$drover" $command >/dev/full 2>"$home/err" </dev/null
		[ $? -eq 1 ] && grep -qE '^drover: cannot write (all of it )?to stdout(: No space left.*)?$' "$home/err"
		result $? "drover $command is a failure when stdout takes nothing"
	done
	mkfifo "$home/gone"
	for command in help 'ls --json' 'events'; do
		exec 5<>"$home/gone" 6>"$home/gone" 5>&-
		status=0
		# shellcheck disable=SC2086
		timeout 60 "$drover" $command >&6 2>"$home/err" </dev/null || status=$?
		exec 6>&-
		[ "$status" -eq 141 ] && [ ! -s "$home/err" ]
		result $? "drover $command ends as by SIGPIPE, without a word, when nobody reads it"
	done
	does '^Host web-2$' ssh-config web
	ssh -F "$home/out" -G web-2 >"$home/seen" 2>"$home/err" && grep -qx 'user drover' "$home/seen" &&
		grep -q "^proxycommand env DROVER_HOME='$DROVER_HOME' .* dial web-2 22$" "$home/seen"
	result $? "ssh reads what ssh-config prints"
	ln -s "$DROVER_HOME" "$home/two
lines"
	DROVER_HOME="$home/two
lines" refuses 1 "ssh takes no path with a newline" ssh-config web
	status=0
	printf '~~tilde\n~.' | timeout $patience "$drover" console web-1 >"$home/out" 2>"$home/err" || status=$?
	[ "$status" -eq 0 ]
	result $? "~. leaves the console"
	refuses 1 "No such file" cp "$home/no-such-file" web-1:/x
	refuses 1 "backend 'fake' runs no commands" cp /etc/hostname web-1:/x
	refuses 1 "'localhost' is not an IPv4 or IPv6 address" forward web-1 localhost:0:80
	mkfifo "$home/ready"
	"$drover" forward web-3 0:80 >"$home/ready" 2>"$home/err" &
	forward=$!
	read -r line <"$home/ready"
	port=${line#127.0.0.1:}
	port=${port%% *}
	[ "$line" = "127.0.0.1:$port -> web-3:80" ] && exec 5<>"/dev/tcp/127.0.0.1/$port" 6<>"/dev/tcp/127.0.0.1/$port" &&
		echo one >&5 && echo two >&6 && read -r -t $patience two <&6 && read -r -t $patience one <&5 && [ "$one $two" = "one two" ]
	result $? "forward passes two connections on, there and back"
	refuses 1 "Address already in use" forward web-1 "$port:80"
	refuses 1 "hint: take another port; 0 finds one that is free" forward web-1 "$port:80"
	mkfifo "$home/ready6"
	"$drover" forward --json web-1 '[::1]:0:80' >"$home/ready6" 2>"$home/err6" &
	forward6=$!
	read -r line <"$home/ready6"
	python3 - "$line" <<-'PY'
	import json, socket, sys
	where = json.loads(sys.argv[1])
	assert set(where) == {"address", "port", "member", "guest_port"} and where["guest_port"] == 80, where
	with socket.create_connection((where["address"], where["port"]), 20) as s:
	    s.sendall(b"six")
	    assert s.recv(3) == b"six"
	PY
	result $? "forward listens on an IPv6 address in brackets, and says where as JSON"
	kill "$forward6"
	wait "$forward6"
	refuses 1 "has no network of its own (backend fake)" net exec web -- true
	mkfifo "$home/to-dial" "$home/dialed"
	"$drover" dial web-3 80 <"$home/to-dial" >"$home/dialed" 2>"$home/dial-said" &
	dial=$!
	exec 8>"$home/to-dial" 9<"$home/dialed"
	echo echoed >&8
	echoed=
	read -r -t $patience echoed <&9
	does '^web-3: killed$' kill web-3
	status=0
	wait $dial || status=$?
	exec 8>&- 9<&-
	[ "$status" -eq 1 ] && [ "$echoed" = echoed ] &&
		grep -q "member web-3 is not running any more" "$home/dial-said"
	result $? "dial passes bytes on, and ends with its member"
	status=0
	wait $forward || status=$?
	[ "$status" -eq 1 ] && grep -q "member web-3 is not running any more" "$home/err"
	result $? "forward ends with its member"
	exec 5>&- 6>&-
	does '^web-3 +stopped' ls
	does '^web-3: stopped$' wait web-3 --state stopped
	"$drover" wait late --new --port 80 --timeout "$patience" >"$home/late" 2>&1 &
	late=$!
	run up late --backend fake --quiet
	wait "$late" && grep -qx 'late: port 80 is open' "$home/late"
	result $? "wait --new hears of a member that is made meanwhile"
	run rm -f late
	refuses 1 "never was not running in time" wait never --new --port 80 --timeout 1
	refuses 1 "member web-3 is not running" stats web-3
	result $([ "$(sed -n 2p "$home/err")" = "hint: drover up web-3" ]; echo $?) "with what starts it"
	refuses 1 "member web-3 is not running" wait web-3 --port 80
	heard() { while read -r -t $patience line <&7 && printf '%s\n' "$line" >>"$home/heard" && [[ $line != $1 ]]; do :; done; }
	: >"$home/heard"
	does '^new .*drover ssh new$' up new --quiet --backend fake
	heard '*"new"*"running"*' # a cluster that comes and goes while the listener waits for its turn is not told
	does '^new: removed$' rm -f new
	heard '*"new"*"gone"*' # it may be told later than rm returns
	kill -TERM "$listener"
	status=0
	wait "$listener" || status=$?
	cat <&7 >>"$home/heard"
	exec 7<&-
	[ "$status" -eq 143 ] && python3 - "$home/heard" <<-'PY'
	import json, sys
	seen = [json.loads(line) for line in open(sys.argv[1])]
	short = [(e["member"], e["event"], e.get("state", "")) for e in seen]
	assert ("web-3", "gone", "") in short and ("new", "state", "running") in short, short
	assert short[-1] == ("new", "gone", "") and all(e["time_ms"] > 1e12 for e in seen), seen
	assert not [s for s in short if s[0] not in ("web-3", "new")], short
	PY
	result $? "events --json told of the named ones only, also of one that came later, and ends by SIGTERM with 143"
	refuses 1 "not running" kill web-3
	does '^web-2: stopped$' down web-2
	does '^web-2: was not running$' down web-2
	refuses 1 "member web-2 is not running" ssh web-2
	does '^process +web-1 +[1-9][0-9]* ' audit
	does '^web-2 +stopped' ls web-2
	does '^web-2 .*drover ssh web-2$' up web-2 --quiet --backend fake
	refuses 1 "use -f" rm web
	mkdir -p "$home/data"
	echo x >"$home/data/f"
	does '^again-1 ' up again -n 2 --quiet --backend fake
	refuses 1 "hint: did you mean 'again-1'?" logs agian-1
	refuses 1 "hint: 'drover ls' lists those that there are" exec frobnicate true
	refuses 1 "hint: did you mean 'again'?" down agian
	refuses 1 "hint: it is a cluster: name one of its members, like 'again-1'" exec again true
	refuses 1 "again-3 joins a cluster whose backend is fake, not qemu" up again-3 --quiet --backend qemu
	does '^again-3 ' up again-3 --quiet
	documented pause again-1 nope --json
	run down again-1 --quiet
	run down again-1
	documented pause again-1 --json # one that fails
	documented resume again-1 --json
	documented kill again-1 --json
	grep -q '"result": null' "$home/out" && grep -q '"code": "not_running"' "$home/out"
	result $? "a member that fails has no result in the JSON, and the code of why"
	export DROVER_FAKE_FAIL_CREATE=broken
	documented up broken --json --backend fake
	grep -q '"stage":"error".*forced Create failure' "$home/out"
	result $? "up --json tells in which member it failed, and why"
	documented run broken --json --backend fake -- true
	unset DROVER_FAKE_FAIL_CREATE
	does '^again-1 ' up again-1 --quiet
	documented resume again-1 --json
	documented down again --json
	does '"result": "was not running"' down again --json
	refuses 1 "hint: drover up again-2" exec again-2 true
	refuses 1 "hint: drover up again" snapshot save again point
	refuses 1 "member again-1 was made for the backend fake: it cannot run on qemu" up again-1 --backend qemu
	does '^again-3 ' up again --mem 3G
	ok "up says that a member gets other memory" grep -qx "note: again-2 had 1G of memory and gets 3G of memory" "$home/err"
	does '^again-1 ' up again-1 --cpus 4
	ok "up of what runs says what changes its CPUs" grep -qx \
		"note: again-1 runs already with 2 CPUs: \`drover restart again-1 --cpus 4\` boots it with 4 CPUs" "$home/err"
	does '^again-1 +[0-9.]+ ' restart again-1 --cpus 4 --disk 20G
	does '"cpus": 4' ls --json again-1
	does '"memory_mb": 3072' ls --json again-1
	does '"disk_mb": 20480' ls --json again-1
	does '"cpus": 2' ls --json again-2
	does '"address":"[0-9.]*","already_running":false' restart again --json
	refuses 1 "no member or cluster is called 'agian'" restart agian
	refuses 2 "restart needs a name" restart
	does '' down again
	refuses 1 "the disk of again-1 has 20480 MB: it can grow, not shrink" up again-1 --disk 5G
	does '"disk_mb": 20480' ls --json again-1
	does '^again-1 ' restart again --quiet
	ok "up of a cluster makes no member of its name" eval '[ ! -e "$DROVER_HOME/clusters/again/again" ]'
	does 'removed' rm -f again
	refuses 1 "the kernel /none: No such file" up own --backend fake --kernel /none
	refuses 1 "the kernel / is not a file" up own --backend fake --kernel /
	refuses 1 "is not a kernel for x86-64: neither a bzImage" up own --backend fake --kernel "$0"
	refuses 1 "the initial file system /none: No such file" up own --backend fake --initrd /none
	refuses 1 "the kernel's command line would have 2000 bytes" \
		up own --backend fake --append "$(printf 'x%.0s' {1..2000})"
	{ head -c 514 /dev/zero; echo "HdrS and more"; } >"$home/bzImage"
	: >"$home/empty"
	refuses 1 "the initial file system $home/empty is empty" up own --backend fake --kernel "$home/bzImage" --initrd "$home/empty"
	refuses 1 "firmware uefi starts the disk's own kernel" up own --backend fake --kernel "$home/bzImage" --firmware uefi
	cd "$home"
	does '^own ' up own --backend fake --kernel ./bzImage --initrd none --append "one two"
	cd - >/dev/null
	does 'running already' up own --backend fake --append three
	ok "up says that a member that runs boots by no other kernel" \
		grep -qx "note: own runs already: --kernel, --initrd and --append are for a boot" "$home/err"
	ok "the kernel's path, which is made absolute, and the words are kept" \
		eval 'grep -q "own_kernel.*: .$home/bzImage" "$DROVER_HOME/clusters/own/own/config.json" &&
			grep -q "\"append\": \"one two\"" "$DROVER_HOME/clusters/own/own/config.json"'
	does '' down own
	mv "$home/bzImage" "$home/moved"
	refuses 1 "member own: the kernel $home/bzImage: No such file" up own --backend fake --quiet
	does '^own ' up own --backend fake --kernel image
	ok "the image's own again" eval '! grep own_kernel "$DROVER_HOME/clusters/own/own/config.json"'
	does 'removed' rm -f own
	refuses 1 "No such file" up fix --backend fake --fixture "$home/none:/data"
	refuses 1 "is not a directory" up fix --backend fake --fixture "$home/data/f:/data"
	refuses 1 "two directories of the host for /data" up fix --backend fake --fixture "$home:/data" --fixture "$home/data:/data"
	refuses 1 "'/a/../b' cannot be where the guest has" up fix --backend fake --fixture "$home/data:/a/../b"
	refuses 1 "'/' cannot be where the guest has" up fix --backend fake --fixture "$home/data:/"
	mkfifo "$home/data/pipe"
	refuses 1 "data/pipe: it is neither file, directory nor link" up fix --backend fake --quiet --fixture "$home/data:/data"
	rm "$home/data/pipe"
	refuses 1 "no member or cluster is called 'fix'" rm -f fix
	does '^fix ' up fix --backend fake --fixture "$home/data:/data"
	debugfs -R 'cat /f' "$DROVER_HOME/clusters/fix/fix/fixture-00.img" 2>/dev/null | grep -qx x
	result $? "a member with a fixture has its image"
	does '^fix: removed$' rm -f fix
	helper=$(cat "$DROVER_HOME/clusters/web/web-1/pid")
	kill -9 "$helper"
	ended "$helper"
	run audit
	[ "$status" -eq 1 ] && grep -Eq '^socket +web-1 +nobody ' "$home/out"
	result $? "drover audit tells what a killed helper left, and ends with 1"
	documented prune --json
	grep -q '"what": ".*/web-1/pid"' "$home/out" && ! grep -q '"reclaimed": false' "$home/out"
	result $? "prune --json tells what it reclaimed"
	does '^\[\]$' audit --json
	does '^web-1: removed$' rm -f web
	does '^\[\]$' ls --json
	does '^run-[0-9]+-1 run-[0-9]+-2 /' run -n 2 --backend fake --quiet -- \
		sh -c 'echo $DROVER_MEMBERS $DROVER_HOME'
	run run --backend fake -- sh -c 'exit 7'
	[ "$status" -eq 7 ]
	result $? "drover run passes on the exit status 7"
	run run --backend fake -- /no/such/program
	[ "$status" -eq 127 ]
	result $? "drover run says 127 for a program that is not there"
	[ "$(cat "$home/err")" = "drover: cannot run '/no/such/program': No such file or directory" ]
	result $? "and does so before a cluster is booted for it"
	run run --backend fake -- /etc/passwd
	[ "$status" -eq 126 ] && grep -q "cannot run '/etc/passwd': Permission denied" "$home/err"
	result $? "drover run says 126 for a file that cannot be run"
	DROVER_FAKE_FAIL_CREATE=all-4 run up all -n 2 --quiet --backend fake
	does '^all-3 ' up all-3 --quiet
	does '' down all-3
	refuses 1 "forced Create failure" up all -n 5 --quiet
	does '^all-3 +stopped' ls all-3
	ok "members that join are all taken back when one fails" out_is "all-1 all-2 all-3" \
		eval 'echo $("$drover" ls -q all)'
	DROVER_FAKE_RECORD=$home/joined run up side --quiet --backend fake
	does '^side-3 ' up side side-2 side-3 --quiet
	ok "members that join boot side by side: both have an address before one is created" out_is "reserve reserve create create" \
		eval 'echo $(sed -n "3,\$s/{\"op\":\"\([a-z]*\)\".*/\1/p" "$home/joined")'
	does '^side-3: removed' rm -f side side-2 side-3
	does '^all-3: removed' rm -f all
	has_no_way_out() { tr '\0' '\n' <"/proc/$(cat "$DROVER_HOME/clusters/shut/$1/pid")/cmdline" | grep -qx -- --no-egress; }
	does '^shut-1 ' up shut -n 2 --no-egress --quiet --backend fake
	does '' down shut
	does '^shut-1 ' up shut-1 --quiet
	ok "a cluster without a way out starts again without one, the option not given" has_no_way_out shut-1
	does '^shut-1 ' restart shut-1 --quiet
	ok "and is restarted without one" has_no_way_out shut-1
	does '^shut-2 ' up shut-2 shut-3 --quiet
	ok "up says that a new member of it has no way out" \
		grep -qx "drover: warning: shut-3 has no way out: its cluster has none" "$home/err"
	does '' down shut
	does '^shut-3 ' up shut-3 --quiet
	ok "a member that joined it has none later" has_no_way_out shut-3
	does '^open-1 ' up open-1 --quiet --backend fake
	refuses 1 "open-2 is to have no way out, and joins a cluster that has one" up open-2 --quiet --no-egress
	does '^open-1 ' up open-1 --no-egress
	ok "up of what runs says that its network stays" \
		grep -qx "note: open-1 runs already and keeps its network: --no-egress is for a start" "$home/err"
	does '' down open-1
	does '^open-1 ' up open-1 --no-egress --quiet
	ok "up says that a member has no way out any more" \
		grep -qx "drover: warning: open-1 had a way out and has none from now on" "$home/err"
	does '' rm -f --all
	does '^mine ' up mine --quiet --backend fake
	does '' down mine
	refuses 1 "member mine is there already, and run removes its members" run mine -- true
	does '^mine +stopped' ls mine
	does '^mine: removed' rm -f mine
	does '^\[\]$' ls --json
fi

done_testing
