#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# drover timeline: the numbers are those of the start that was, a boot or none, and a browser shows the picture.
cd "$(dirname "$0")" || exit 1
. ./lib.sh

boot='image prepare VMM kernel init sshd login'
resume='image prepare resume login'

up_and_measure() { # MEMBERS, OPTIONS...
	local began
	began=$(date +%s%3N)
	"$DROVER" up "$@" --image tiny --quiet || return 1
	echo $(($(date +%s%3N) - began)) >"$home/took"
}
stages() { # MEMBER
	"$DROVER" timeline "$1" --json | python3 -c 'import json, sys; print(*(s["stage"] for s in json.load(sys.stdin)[0]["stages"]))'
}
# Each stage begins where the one before ends, none is empty, and all together are what `up` took.
adds_up() { # CLUSTER, STAGES
	"$DROVER" timeline "$1" --json | python3 -c '
import json, sys
took, cluster, stages = int(sys.argv[1]), sys.argv[2], sys.argv[3]
members = json.load(sys.stdin)
assert [m["member"] for m in members] == [cluster + "-1", cluster + "-2"], members
for m in members:
    names = [s["stage"] for s in m["stages"]]
    assert names == stages.split(), names
    at = 0
    for s in m["stages"]:
        assert s["begin_ms"] == at < s["end_ms"], m
        at = s["end_ms"]
# as much as a busy machine needs to end the command
assert took / 2 < max(m["stages"][-1]["end_ms"] for m in members) <= took, (took, members)
' "$(cat "$home/took")" "$@"
}
draws() { "$DROVER" timeline box -o "$home/boot.svg" && python3 -c 'import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])' "$home/boot.svg"; }
is_shown() { ./rendered.py "$home/boot.svg" "$home/boot.png"; }
prints_the_same() { [ "$("$DROVER" timeline box-1 box-2 | grep -c "<title>")" = 14 ]; }
draws_only() { # MEMBER, STAGES
	local drawn
	drawn=$("$DROVER" timeline "$1") || return 1
	# shellcheck disable=SC2086
	diff <(printf '%s\n' $2) <(sed -n "s/.*<title>$1: \([^ ]*\) .*/\1/p" <<<"$drawn") &&
		diff <(printf '%s\n' $2) <(sed -n 's/.* y="24">\([^<]*\)<.*/\1/p' <<<"$drawn") # the legend
}
goes_on_after_reset() {
	local before
	before=$("$DROVER" timeline w --json) && "$DROVER" snapshot save w p && "$DROVER" reset w p && "$DROVER" timeline w --json | diff - <(echo "$before")
}
later() { # MEMBER, MILLISECONDS: that its start seems to be
	python3 - "$home/clusters/box/$1/boot.json" "$2" <<-'END'
	import json, sys
	times = {k: v + int(sys.argv[2]) if k.endswith('_ms') else v for k, v in json.load(open(sys.argv[1])).items()}
	json.dump(times, open(sys.argv[1], 'w'))
	END
}

ok "image tiny is there" "$DROVER" image build tiny
mkdir "$home/images" && cp -r "$DROVER_IMAGE_CACHE/tiny" "$home/images/" # and the template is this test's own
export DROVER_IMAGE_CACHE=$home/images
ok "two members are up" up_and_measure box-1 box-2
ok "timeline --json: the stages follow each other and add up to what up took" adds_up box "$boot"
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
ok "two members go on from a template" up_and_measure w-1 w-2 --warm
ok "of which no boot is told, and what is told adds up to what up took" adds_up w "$resume"
ok "nor is one drawn" draws_only w-1 "$resume"
ok "what is told is the same when they were put back to a point" goes_on_after_reset
ok "one of them boots" "$DROVER" restart -q w-2
ok "which is told, and drawn" draws_only w-2 "$boot"
ok "those that boot are copied" "$DROVER" fork -q box f
ok "the copies did not boot" out_is "$resume" stages f-2
later box-2 -3600000
fails "a guest whose clock began anew since is told, not drawn" 1 "rebooted, paused or put back to a point since" "$DROVER" timeline box-2
later box-2 7200000
fails "nor is one whose kernel began before its hypervisor" 1 "rebooted, paused or put back to a point since" "$DROVER" timeline box-2
"$DROVER" down box-1 >/dev/null
fails "a member that does not run is told" 1 "box-1.* not running" "$DROVER" timeline box-1
ok "rm" "$DROVER" rm -f --all
ok "nothing is left" nothing_left
done_testing
