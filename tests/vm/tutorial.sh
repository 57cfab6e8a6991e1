#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# docs/tutorial.md: each command, in one shell, as a user would who has installed drover.
cd "$(dirname "$0")" || exit 1
. ./lib.sh
here=$PWD
tutorial=$(realpath ../../docs/tutorial.md)
build=$(realpath "$(dirname "$DROVER")/../..")
mkdir "$home/walk" && cd "$home/walk" || exit 1
export PATH=$(dirname "$DROVER"):$PATH LD_LIBRARY_PATH=$build/src/client PKG_CONFIG_PATH=$build/meson-uninstalled
"$here/tutorial.py" "$tutorial" 2>"$home/progress" | sed -u '/^1\.\./d'
exit_status=${PIPESTATUS[0]}
n=$(grep -c '^\$ ' "$tutorial")
failures=$exit_status
[ "$exit_status" = 0 ] || sed 's/^/# /' "$home/progress"
ok "nothing is left" nothing_left
done_testing
