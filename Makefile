# SPDX-License-Identifier: MIT
# A thin front on Meson: each target does all that it needs, on a fresh Debian 12 machine too.
.PHONY: all setup demo check check-fault check-kvm check-threads check-valgrind format clean

all:
	tools/build

# Installs what is missing, once, through apt, and says what.
setup:
	tools/setup

# The main job, from nothing to nothing left.
demo: setup
	tools/build
	tools/demo

# All tests. The last line is: N passed, N failed, N skipped
check: setup
	tools/check

# The kill matrix with real guests: half an hour without KVM. CASES=PATTERN runs some of it.
check-fault: setup
	tools/build
	build/src/cli/drover image build tiny
	tests/fault/guest_matrix.py build/src/cli/drover build/src/helper/drover-helper '$(CASES)'

# KVM in a guest with nested virtualisation; with cloud-hypervisor too, when it is in PATH or DROVER_HYPERVISOR names it.
# CASES=PATTERN runs some of it: names as in `tests/kvm/inside.sh`, for example CASES=ch_cluster. Landlock wants Linux 6.2 in the
# member: DROVER_TEST_NESTED_KERNEL names what `dpkg -x` made of a linux-image-cloud-amd64 of bookworm-backports.
check-kvm: setup
	tools/build
	CASES='$(CASES)' meson test -C build --suite kvm --verbose; status=$$?; tools/tally build/meson-logs/testlog.json; exit $$status

# Clusters in threads of one process, with ThreadSanitizer; unit tests and the command under valgrind. Both are in check too.
check-threads: setup
	tools/threads

check-valgrind: setup
	tools/build
	tools/valgrind build

format:
	clang-format -i $$(git ls-files '*.c' '*.h')

clean:
	rm -rf build build-*
