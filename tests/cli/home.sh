# SPDX-License-Identifier: MIT
# What the tests of the command begin with, sourced by a script whose $1 is the command: TAP, $drover, and below $home a home of
# drover's own, which goes at the end with all that runs there.
# shellcheck shell=bash
. "$(dirname "${BASH_SOURCE[0]}")/../tap.sh"
drover=$(realpath "${1:?path to drover}")
home=$(mktemp -d)
export DROVER_HOME=$home/home

finish() {
	"$drover" rm -f --all >/dev/null 2>&1
	rm -rf "$home"
}
trap finish EXIT
