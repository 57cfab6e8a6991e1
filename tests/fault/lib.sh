# SPDX-License-Identifier: MIT
# What the shell tests of this folder begin with: TAP, the two programs given as $1 and $2, a home of their own over the fake
# backend, and its end.
# shellcheck shell=bash
set -u
. "$(dirname "$0")/../tap.sh"
drover=$(realpath "${1:?path to drover}")
helper=$(realpath "${2:?path to drover-helper}")
scratch=$(mktemp -d)
export DROVER_HELPER=$helper DROVER_HOME=$scratch/home

finish() {
	"$drover" rm -f --all >/dev/null 2>&1
	"$drover" prune >/dev/null 2>&1
	rm -rf "$scratch"
}
trap finish EXIT

up() { "$drover" up "$@" --backend fake --quiet; }
helper_of() { cat "$DROVER_HOME/clusters/$1/$2/pid"; }
nothing_left() { "$drover" audit && [ -z "$("$drover" audit)" ]; }
