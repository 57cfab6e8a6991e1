# SPDX-License-Identifier: MIT
"""A test in the place of QEMU: one that is copied to "qemu-system-x86_64" in a folder of PATH plays it when it runs by that name."""
import json
import os
import socket
import sys

QMP_FD = 4
SERIAL_FD = 5


def play_qemu(says=b""):
    """Runs from the start on and has its descriptors open, as QEMU would; no guest, but what it says on its serial line."""
    with socket.socket(fileno=QMP_FD) as qmp, qmp.makefile("r") as orders:
        qmp.sendall(b'{"QMP":{}}\n')
        if says:
            os.write(SERIAL_FD, says)
        for line in orders:
            order = json.loads(line)
            result = {"status": "running"} if order["execute"] == "query-status" else {}
            qmp.sendall(json.dumps({"return": result, "id": order["id"]}).encode() + b"\n")


def play_if_qemu(says=b""):
    if os.path.basename(sys.argv[0]) == "qemu-system-x86_64":
        play_qemu(says)
        sys.exit()
