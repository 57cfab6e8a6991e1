#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# abi_test.sh CHECK COMPILER HEADER DUMP: the header's ABI is the one written down, and the check sees each kind of change.
check=$1 compiler=$2 header=$3 dump=$4
. "$(dirname "$0")/../tap.sh"
copy=$(mktemp --suffix=.h)
trap 'rm -f "$copy"' EXIT

# says STATUS WORD PATTERN SED: a header changed by SED is told with STATUS and a line of WORD that has PATTERN
says() {
	local said status=0
	sed -z "$4" "$header" >"$copy"
	! cmp -s "$header" "$copy" || { echo "nothing was changed"; return 1; }
	said=$("$check" "$compiler" "$copy" "$dump") || status=$?
	echo "exit $status: $said"
	[ "$status" -eq "$1" ] && grep -q "^$2: .*$3" <<<"$said"
}
breaks() { says 1 broken "$@"; }
is_new() { says 0 new "$@"; }

ok "what programs rely on is as it was written down (abi_check.py --update writes it)" "$check" "$compiler" "$header" "$dump"
ok "a field in the middle is a break" breaks 'drover_options.image at' 's/\tconst char \*image;/\tint extra[2];\n&/'
ok "a field that grows is a break" breaks 'drover_error.hint' 's/char hint\[256\]/char hint[257]/'
ok "a field of another type is a break" breaks 'drover_stats.cpu_ms' 's/\tint64_t cpu_ms;/\tuint64_t cpu_ms;/'
ok "a field at the end of what has no size is a break" breaks 'drover_point.extra' 's/\tint64_t saved_at;[^\n]*\n/&\tint64_t extra;\n/'
ok "an enumerator in the middle is a break" breaks 'DROVER_MOUNT_RW' 's/\tDROVER_MOUNT, /\tDROVER_EXTRA,\n&/'
ok "another parameter is a break" breaks 'drover_vm_dial' 's/vm, uint16_t port/vm, uint32_t port/'
ok "a function that goes is a break" breaks 'drover_version' 's/DROVER_API const char \*drover_version(void);//'
ok "a field at the end of what has its size is new" is_new 'drover_options.extra' 's/};\n#define DROVER_OPTIONS_INIT/\tint64_t extra;\n&/'
ok "a function is new" is_new 'drover_extra' 's/DROVER_API const char \*drover_version(void);/&\nDROVER_API void drover_extra(void);/'
done_testing
