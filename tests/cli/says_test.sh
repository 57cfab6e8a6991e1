#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What the command leaves behind, and what it tells and does not leave to be guessed.   says_test.sh path/to/drover
set -u
. "$(dirname "$0")/../tap.sh"
drover=$(realpath "${1:?path to drover}")
home=$(mktemp -d)
export DROVER_HOME=$home/home DROVER_IMAGE_CACHE=$home/images

finish() {
	"$drover" rm -f --all >/dev/null 2>&1
	rm -rf "$home"
}
trap finish EXIT

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

done_testing
