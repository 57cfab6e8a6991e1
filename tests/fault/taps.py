#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What becomes of a tap when a cluster ends by the death of its client: the helper of the qemu backend in its own namespaces,
with this file in the place of QEMU.

environment: DROVER_HELPER, PYTHONPATH (tests/protocol)
"""
import json
import os
import shutil
import subprocess

from played_qemu import play_if_qemu

play_if_qemu()

import harness
from harness import TESTS, Helper, Skip, expect, has_sandbox, main, test


class Namespaces:
    """Those of a helper's init, which stay as long as this is open."""

    def __init__(self, helper):
        with open(f"/proc/{helper.pid}/task/{helper.pid}/children", encoding="ascii") as file:
            init = file.read().split()[0]
        kinds = ["net"] if os.geteuid() == 0 else ["net", "user"]
        self.fds = {kind: os.open(f"/proc/{init}/ns/{kind}", os.O_RDONLY) for kind in kinds}

    def links(self):
        enter = ["nsenter"] + [f"--{kind}=/proc/self/fd/{fd}" for kind, fd in self.fds.items()]
        told = subprocess.run([*enter, "ip", "-json", "link"], pass_fds=self.fds.values(), check=True, capture_output=True)
        return [link["ifname"] for link in json.loads(told.stdout)]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for fd in self.fds.values():
            os.close(fd)


@test
def when_a_client_is_killed_no_tap_is_removed_before_its_network():
    if not has_sandbox():
        raise Skip("this host makes no namespaces")
    home = harness.new_home()
    shutil.copy(__file__, os.path.join(home, "qemu-system-x86_64"))
    disk = os.path.join(home, "disk")
    with open(disk, "wb") as file:
        file.truncate(1 << 20)
    client = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    env = {"PATH": home + ":" + os.environ["PATH"]}
    with Helper("a", bound=client.pid, home=home, env=env, arguments=("--backend", "qemu")) as h:
        expect("ready", "ready\n", h.ready)
        h.call({"cmd": "createnetwork", "no_egress": True})
        h.call({"cmd": "reserve", "name": "a"})
        spec = {"name": "a", "disk_path": disk, "cpus": 1, "memory_bytes": 64 << 20}
        with h.watch() as watch, h.connect() as boot, Namespaces(h) as held:
            boot.request({"cmd": "boot-member", "spec": spec})
            watch.until(lambda event: event["event"] == "stage")
            expect("while it runs", True, "vm0" in held.links())
            client.kill()
            client.wait()
            client.stdin.close()
            h.wait_exit()
            expect("all its processes are gone, its network is held here", True, "vm0" in held.links())


main(TESTS)
