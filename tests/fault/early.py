#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A guest that says on its serial line that it will not be ready: its boot fails at once. The helper of the qemu backend in its
own namespaces, with this file in the place of QEMU.

environment: DROVER_HELPER, PYTHONPATH (tests/protocol)
"""
import os
import shutil

from played_qemu import play_if_qemu

ALERT = b"Begin: Running /scripts/local-block ... done.\r\nALERT!  PARTUUID=0 does not exist.  Dropping to a shell!\r\n\r\n(initramfs) "

play_if_qemu(ALERT)

import harness
from harness import TESTS, Helper, Skip, expect, has_sandbox, main, test


@test
def a_guest_that_finds_no_root_and_drops_to_a_shell_is_told_at_once():
    if not has_sandbox():
        raise Skip("this host makes no namespaces")
    home = harness.new_home()
    shutil.copy(__file__, os.path.join(home, "qemu-system-x86_64"))
    disk = os.path.join(home, "disk")
    with open(disk, "wb") as file:
        file.truncate(1 << 20)
    env = {"PATH": home + ":" + os.environ["PATH"]}
    with Helper("a", home=home, env=env, arguments=("--backend", "qemu")) as h:
        expect("ready", "ready\n", h.ready)
        h.call({"cmd": "createnetwork", "no_egress": True})
        h.call({"cmd": "reserve", "name": "a"})
        spec = {"name": "a", "disk_path": disk, "cpus": 1, "memory_bytes": 64 << 20}
        reply = h.call({"cmd": "boot-member", "spec": spec})
        expect("code", "boot_failed", reply["code"])
        expect("that it finds no root", True, "found no root file system and sits in a shell" in reply["error"])
        expect("and in its words", True, "ALERT!  PARTUUID=0 does not exist." in reply["error"])


main(TESTS)
