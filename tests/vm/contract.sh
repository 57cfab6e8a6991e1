#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The contract suite (tests/contract) with real guests of the image tiny: contract.sh qemu | remote-qemu
cd "$(dirname "$0")" && . ./lib.sh

"$DROVER" image build tiny >&2 || exit 1
"${DROVER_TEST_CONTRACT:?the suite}" "$1"
