#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# install_test.sh BUILD EXAMPLE SYMBOLS: what "meson install" leaves, and what a program gets that builds against it.
build=$1 example=$2 symbols=$3
. "$(dirname "$0")/../tap.sh"
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

installs() {
	DESTDIR=$root meson install -C "$build" --no-rebuild --quiet || return 1
	pc=$(find "$root" -name drover.pc) && [ -n "$pc" ]
}
flags() { PKG_CONFIG_PATH=$(dirname "$(find "$root" -name drover.pc)") PKG_CONFIG_SYSROOT_DIR=$root pkg-config "$@" drover; }
libdir() { dirname "$(find "$root" -name libdrover.so)"; }
builds() { # shellcheck disable=SC2046
	cc -Wall -Werror -o "$root/hello" "$example" $(flags --cflags --libs) &&
		LD_LIBRARY_PATH=$(libdir) ldd "$root/hello" | grep -q "libdrover.so.0 => $root"
}
builds_static() { # what it needs in turn is linked shared: those libraries' own static needs are not ours
	local needs
	needs=$(flags --print-requires-private | cut -d' ' -f1) || return 1
	# shellcheck disable=SC2046,SC2086
	cc -o "$root/static" "$example" $(flags --cflags) "$(libdir)/libdrover.a" $(pkg-config --libs $needs) -pthread &&
		! ldd "$root/static" | grep drover
}
runs_from_cpp() { # shellcheck disable=SC2046
	printf '%s\n' '#include <drover.h>' '#include <drover_fixture.h>' '#include <cstring>' \
		'DROVER_TAP_TEST(boots, 1, .image = "tiny") { return drover_fixture_run(fixture, 0, "true"); }' 'int main(int argc, char **) {' 'if (argc > 1) drover_tap_run(boots);' \
		'	drover_options o = DROVER_OPTIONS_INIT;' \
		'	drover_exec x = DROVER_EXEC_INIT;' \
		'	drover_call c = DROVER_CALL_INIT;' \
		'	drover_forward f = DROVER_FORWARD_INIT;' \
		'	return !(o.size && x.size && c.size && f.size && std::strlen(drover_version()));' '}' >"$root/use.cc"
	g++ -std=c++20 -Wall -Werror -o "$root/use" "$root/use.cc" $(flags --cflags --libs) && LD_LIBRARY_PATH=$(libdir) "$root/use"
}
# A symbol that goes, or changes its version, breaks programs; new ones are appended to the list at a release.
has_the_symbols() {
	! LC_ALL=C comm -23 "$symbols" <(nm -D --defined-only --with-symbol-versions "$(libdir)/libdrover.so" |
		awk '$2 == "T" { sub(/@@/, "@", $3); print $3 }' | LC_ALL=C sort) | grep .
}
command_runs() { LD_LIBRARY_PATH=$(libdir) "$(find "$root" -path '*/bin/drover')" version; }
has_a_page_per_command() {
	local c missing=0
	for c in $(LD_LIBRARY_PATH=$(libdir) "$(find "$root" -path '*/bin/drover')" help | awk '/^  / { print $1 }'); do
		[ "$c" = help ] || [ "$c" = version ] || [ -n "$(find "$root" -name "drover-$c.1*")" ] || { echo "no page for $c"; missing=1; }
	done
	return $missing
}
has_completions() {
	[ -s "$(find "$root" -path '*/bash-completion/completions/drover')" ] && [ -s "$(find "$root" -path '*/zsh/*/_drover')" ] &&
		[ -s "$(find "$root" -path '*/fish/vendor_completions.d/drover.fish')" ]
}

ok "meson install" installs
ok "a C program builds with pkg-config's flags and finds the shared library" builds
ok "a C program links the static library" builds_static
ok "a C++ program uses the header" runs_from_cpp
ok "the shared library keeps the symbols of libdrover.symbols and their versions" has_the_symbols
ok "the installed command runs" command_runs
ok "each command has its page" has_a_page_per_command
ok "bash, zsh and fish find the completions" has_completions
done_testing
