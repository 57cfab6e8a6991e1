#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# drover timeline: the numbers are those of the boot that was, and a browser shows the picture.
cd "$(dirname "$0")" || exit 1
. ./lib.sh

up_and_measure() {
	local began
	began=$(date +%s%3N)
	"$DROVER" up box-1 box-2 --image tiny --quiet || return 1
	echo $(($(date +%s%3N) - began)) >"$home/took"
}
# Each stage begins where the one before ends, none is empty, and all together are what `up` took.
adds_up() {
	"$DROVER" timeline box --json | python3 -c '
import json, sys
took = int(sys.argv[1])
members = json.load(sys.stdin)
assert [m["member"] for m in members] == ["box-1", "box-2"], members
for m in members:
    names = [s["stage"] for s in m["stages"]]
    assert names == ["image", "prepare", "VMM", "kernel", "init", "sshd", "login"], names
    at = 0
    for s in m["stages"]:
        assert s["begin_ms"] == at < s["end_ms"], m
        at = s["end_ms"]
# as much as a busy machine needs to end the command
assert took / 2 < max(m["stages"][-1]["end_ms"] for m in members) <= took, (took, members)
' "$(cat "$home/took")"
}
draws() { "$DROVER" timeline box -o "$home/boot.svg" && python3 -c 'import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])' "$home/boot.svg"; }
is_shown() { ./rendered.py "$home/boot.svg" "$home/boot.png"; }
prints_the_same() { [ "$("$DROVER" timeline box-1 box-2 | grep -c "<title>")" = 14 ]; }
an_hour_earlier() {
	python3 - "$home/clusters/box/box-2/boot.json" <<-'END'
	import json, sys
	times = {k: v - 3600000 for k, v in json.load(open(sys.argv[1])).items()}
	json.dump(times, open(sys.argv[1], 'w'))
	END
}

ok "two members are up" up_and_measure
ok "timeline --json: the stages follow each other and add up to what up took" adds_up
ok "each field of timeline --json is in its page" documented timeline box --json
ok "timeline -o writes an XML document" draws
if command -v chromium >/dev/null; then
	ok "a browser shows each stage of the picture" is_shown
else
	tap_skip "a browser shows each stage of the picture" "no chromium: run 'make setup'"
fi
ok "timeline prints the picture on stdout" prints_the_same
fails "timeline without a name is refused" 2 "needs the name" "$DROVER" timeline
fails "a file that cannot be written is named" 1 "cannot write /no/such/boot.svg" "$DROVER" timeline box -o /no/such/boot.svg
an_hour_earlier
fails "a guest whose clock began anew since is told, not drawn" 1 "rebooted or paused since" "$DROVER" timeline box-2
"$DROVER" down box-1 >/dev/null
fails "a member that does not run is told" 1 "box-1.* not running" "$DROVER" timeline box-1
ok "rm" "$DROVER" rm -f box
ok "nothing is left" nothing_left
done_testing
