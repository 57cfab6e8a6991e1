#!/bin/sh
# SPDX-License-Identifier: MIT
# drover run -n 2 -- examples/shell/cluster_test.sh
set -eu

if [ "${DROVER_MEMBER_COUNT:-0}" -lt 2 ]; then
	echo "1..0 # SKIP needs a cluster: drover run -n 2 -- $0"
	exit 0
fi
echo 1..2
[ "$(drover exec "$DROVER_MEMBER_1" -- hostname)" = "$DROVER_MEMBER_1" ]
echo "ok 1 - a member knows its name"
drover exec "$DROVER_MEMBER_1" -- ping -c 1 "$DROVER_MEMBER_2" >/dev/null
echo "ok 2 - the first reaches the second"
