# SPDX-License-Identifier: MIT
# A thin front on Meson: each target does all that it needs, on a fresh Debian 12 machine too.
.PHONY: all setup demo check format clean

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

format:
	clang-format -i $$(git ls-files '*.c' '*.h')

clean:
	rm -rf build build-*
