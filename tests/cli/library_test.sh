#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# library_test.sh LIBRARY HEADER README EXAMPLE: what a program gets that links libdrover.
library=$1 header=$2 readme=$3 example=$4
. "$(dirname "$0")/../tap.sh"

links_no() { # PATTERN
	! ldd "$library" | grep -E "$1"
}
holds_no() { # PATTERN
	nm --defined-only "$library" | grep -q drover_cluster_start || { echo "no symbols to look at"; return 1; }
	! nm --defined-only "$library" | grep -E "$1"
}
exports_its_own_only() {
	! nm -D --defined-only "$library" | awk '{ sub(/@.*/, "", $3); if ($2 != "A" && $3 !~ /^drover_/) print $3 }' | grep .
}
exports_what_the_header_declares() {
	diff <(tr '\n' ' ' <"$header" | grep -oE 'DROVER_API [^;(]*\(' | grep -oE 'drover_[a-z_]+\($' | tr -d '(' | sort -u) \
		<(nm -D --defined-only "$library" | awk '$2 == "T" { sub(/@.*/, "", $3); print $3 }' | sort -u)
}
# What may be written to, beside the C library's own: that libcurl was loaded and where its calls are, and the buffer of a
# read, a thread's own.
has_no_state() {
	objdump -t "$library" | grep -q 'O .data.rel.ro' || { echo "no objects to look at"; return 1; }
	! objdump -t "$library" | awk '/[ \t]\.t?(data|bss)[ \t]/ { print $NF }' |
		grep -vE '^(\.t?(data|bss)|completed\.[0-9]+|__dso_handle|__TMC_END__|curl|(loaded|lock|bytes)\.[0-9]+)$'
}
example_is_in_readme() {
	diff <(grep -v SPDX "$example") <(awk '/^```c$/ { on = 1; next } /^```$/ { on = 0 } on' "$readme")
}

ok "no libnl, no libnftables, and libcurl only when it is needed" links_no 'libnl|libnftables|libcurl'
ok "no hypervisor backend, no helper, no network" holds_no '(qemu|qmp|private_net|sandbox|fake_backend|helper_run|nft|rtnl)_'
ok "nothing but drover_ is visible" exports_its_own_only
ok "each declared function is visible, and no other" exports_what_the_header_declares
ok "no global state" has_no_state
ok "the README shows the example that the tests run" example_is_in_readme
done_testing
