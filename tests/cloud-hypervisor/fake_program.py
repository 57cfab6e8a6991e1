#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Plays the program cloud-hypervisor for tests: its REST API and its events, and no VM at all.

FAKE_CH says how it misbehaves (nothing: not at all): old, refuse, text, truncated, no-json, flood, hang, die, mute-button,
panic, reboot, reboots (the guest: reboots again and again), login-panic, login-die, login-reboot (when somebody logs in).
A "guest" with an initial file system, or with firmware, answers on SSH, by a banner on its address, which this program takes itself.
"""
import glob
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading

MODE = os.environ.get("FAKE_CH", "")
API_FD = int(sys.argv[sys.argv.index("--api-socket") + 1].removeprefix("fd="))
EVENTS = socket.socket(fileno=int(sys.argv[sys.argv.index("--event-monitor") + 1].removeprefix("fd=")))
state = {"config": None, "vm": "Created", "serial": None, "boots": 1, "off": False}
forever = threading.Event()
connected = threading.Event()  # somebody is at the serial line
telling = threading.Lock()  # an event is whole before the next begins, as the program's one event thread has it


def event(source, name):
    text = json.dumps({"timestamp": {"secs": 0, "nanos": 1}, "source": source, "event": name, "properties": None}, indent=2)
    with telling:
        for part in (text[:20], text[20:] + "\n\n"):  # as a stream may cut it
            EVENTS.sendall(part.encode())


def end(status):
    event("vmm", "shutdown")
    os._exit(status)


PANIC = b"[    1.0] Kernel panic - not syncing: played\r\n[    1.0] ---[ end Kernel panic - not syncing: played ]---\r\n"


def greet(listener, config):
    peers = []
    while True:
        peers.append(listener.accept()[0])
        peers[-1].sendall(b"SSH-2.0-fake\r\n")
        if not MODE.startswith("login") or not peers[-1].recv(1):
            continue
        if MODE == "login-panic":
            state["peer"].sendall(PANIC)
        elif MODE == "login-reboot" and state["boots"] == 1:
            reset(config)
        else:
            print("the guest is no more", file=sys.stderr, flush=True)
            os._exit(3)


def listen_serial(config):
    state["serial"] = socket.socket(socket.AF_UNIX)
    state["serial"].bind(config["serial"]["socket"])
    state["serial"].listen()


def reset(config):
    """The VM is made anew, and its serial line's socket with it."""
    event("vm", "rebooting")
    old = state["serial"]
    state["peer"].shutdown(socket.SHUT_RDWR)
    os.unlink(config["serial"]["socket"])
    listen_serial(config)
    state["boots"] += 1
    old.shutdown(socket.SHUT_RDWR)
    connected.clear()
    event("vm", "rebooted")
    assert connected.wait(10), "nobody came to the new serial line"


def play_serial():
    """One client at a time: the newest."""
    while True:
        try:
            peer = state["serial"].accept()[0]
        except OSError:  # that one is gone, there is another
            continue
        peer.sendall(b"hello from boot %d\r\n" % state["boots"])
        if MODE == "panic":
            peer.sendall(PANIC)
        state["peer"] = peer  # or it would be closed
        connected.set()


def play_guest(config):
    """Its serial line, and its SSH server when it has something to run."""
    threading.Thread(target=play_serial, daemon=True).start()
    connected.wait()
    if MODE in ("reboot", "reboots"):
        for _ in range(3 if MODE == "reboots" else 1):
            reset(config)
    if MODE in ("panic", "reboots") or not {"initramfs", "firmware"} & set(config["payload"]):
        return
    where = os.path.dirname(os.path.dirname(config["serial"]["socket"]))
    leases = "".join(open(f, encoding="ascii").read() for f in glob.glob(where + "/dhcp/*"))
    ip = re.search(re.escape(config["net"][0]["mac"]) + r",.*?(\d+\.\d+\.\d+\.\d+)", leases)[1]
    subprocess.run(["ip", "address", "replace", ip + "/32", "dev", "lo"], check=True)
    listener = socket.create_server((ip, 22))
    threading.Thread(target=greet, args=(listener, config), daemon=True).start()


def create(config):
    if MODE == "refuse":
        return 500, ["The VM could not be created", "the disk is\nbroken"]
    for key in ("kernel", "initramfs", "firmware"):
        if key in config["payload"]:
            open(config["payload"][key], "rb").close()
    socket.if_nametoindex(config["net"][0]["tap"])  # or an error
    listen_serial(config)
    state["config"] = config
    return 204, None


def boot(_):
    if MODE == "die":
        print("cannot open the firmware", file=sys.stderr, flush=True)
        os._exit(3)
    threading.Thread(target=play_guest, args=(state["config"],), daemon=True).start()
    state["vm"] = "Running"
    event("vm", "booted")
    return 204, None


def switch(wanted, becomes):
    def order(_):
        if state["vm"] != wanted:
            return 405, ["the VM is " + state["vm"]]
        state["vm"] = becomes
        return 204, None
    return order


def button(_):
    state["off"] = MODE != "mute-button"
    return 204, None


ACTIONS = {
    "GET vmm.ping": lambda _: (200, {"version": "36.0.0" if MODE == "old" else "53.0.0"}),
    "PUT vm.create": create,
    "PUT vm.boot": boot,
    "PUT vm.pause": switch("Running", "Paused"),
    "PUT vm.resume": switch("Paused", "Running"),
    "PUT vm.power-button": button,
    "GET vm.info": lambda _: (200, {"state": state["vm"]}) if state["config"] else (404, ["The VM is not created"]),
    "GET vm.counters": lambda _: (200, {"_disk0": {"read_bytes": 4096, "write_bytes": 512}, "_net1": {"rx_bytes": 1}}),
}


def reply(peer, status, body):
    text = b"" if body is None else json.dumps(body).encode()
    if MODE == "text":
        status, text = 500, b"an older version's plain text"
    elif MODE == "no-json":
        text = b"<html>"
    elif MODE == "flood":
        text = b'"' + b"x" * (4 << 20) + b'"'
    length = len(text) + (100 if MODE == "truncated" else 0)
    head = f"HTTP/1.1 {status} \r\nServer: fake\r\nConnection: keep-alive\r\nContent-Length: {length}\r\n\r\n"
    peer.sendall(head.encode() + text)


def serve(peer):
    stream = peer.makefile("rb")
    method, path, _ = stream.readline().decode().split(" ")
    length = 0
    while (line := stream.readline().strip()):
        name, value = line.decode().split(":", 1)
        if name.lower() == "content-length":
            length = int(value)
    body = stream.read(length)
    if MODE == "hang":
        forever.wait()
    action = ACTIONS.get(f"{method} {path.removeprefix('/api/v1/')}")
    reply(peer, *(action(json.loads(body) if body else None) if action else (404, ["no such action: " + path])))
    peer.close()
    if state["off"]:  # not before the reply is told
        end(0)


def main():
    signal.signal(signal.SIGTERM, lambda *_: end(0))
    listener = socket.socket(fileno=API_FD)
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()


main()
