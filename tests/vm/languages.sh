#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# drover run for any language: the examples with pytest, Go's testing, a shell script and CTest, in one cluster of tiny
# members; and, without one, how each skips.
cd "$(dirname "$0")" && . ./lib.sh
if [ "${1:-}" = inside ]; then # drover run started this script over, in the home of the first
	trap - EXIT
	rmdir "$home"
	home=$2
	export DROVER_HOME=$home
fi
examples=$(realpath ../../examples)
mkdir -p "$home/bin" && ln -sf "$(realpath "$DROVER")" "$home/bin/drover"
export PATH=$home/bin:$PATH

export CGO_ENABLED=0 # no C in the example
# pytest, go, shell and ctest: each prints what its framework says
run_pytest() { /usr/bin/python3 -m pytest -p no:cacheprovider -rs "$examples/pytest"; }
run_go() { "$home/go-test" -test.v; }
run_shell() { "$examples/shell/cluster_test.sh"; }
run_ctest() { ctest --test-dir "$home/ctest" --output-on-failure; }
# says PATTERN FRAMEWORK: it succeeds and says so
says() {
	local out status=0
	out=$("run_$2" 2>&1) || status=$?
	[ $status -eq 0 ] && grep -Eq -- "$1" <<<"$out" || { echo "exit $status"; echo "$out"; return 1; }
}

if [ "${1:-}" = inside ]; then
	ok "pytest runs the example" says '^=+ 5 passed in' pytest
	ok "go test runs the example" says '^--- PASS: TestMembersReachEachOther' go
	ok "a shell script runs the example" says '^ok 2 - the first reaches the second' shell
	ok "ctest runs the example" says '^100% tests passed, 0 tests failed out of 2' ctest
	exit $failures
fi

compiles() {
	(cd "$examples/go" && go test -c -o "$home/go-test" .) &&
		cmake -S "$examples/ctest" -B "$home/ctest"
}
ok "the examples in Go and for CTest compile" compiles
ok "without a cluster pytest skips, with the reason" says 'SKIPPED.*needs a cluster: drover run -n 2' pytest
ok "without a cluster go test skips, with the reason" says 'needs a cluster: drover run -n 2' go
ok "without a cluster the shell script skips, with the reason" says '^1..0 # SKIP needs a cluster: drover run -n 2' shell
ok "without a cluster ctest skips" says '2 \(Skipped\)|Skipped' ctest
ok "image tiny is built or there" "$DROVER" image build tiny
"$DROVER" run --image tiny --cpus 1 --quiet -n 2 -- bash "./$(basename "$0")" inside "$home" >"$home/inside" 2>&1
status=$?
while IFS= read -r line; do
	case $line in
	'ok '* | 'not ok '*) tap_result "$([[ $line == ok* ]]; echo $?)" "${line#*- }" ;;
	*) echo "# $line" ;;
	esac
done <"$home/inside"
ok "all four ran, and drover run has their status" test "$status $(grep -c '^ok' "$home/inside")" = "0 4"
ok "nothing is left" nothing_left
done_testing
