#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Each verb beside protocol 2 against a helper with a real guest. usage: verbs.py HOME NAME   Prints one TAP line a claim.

The guest is `tiny`: its serial line echoes what is typed.
"""
import os
import select
import socket
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "protocol"))
import harness
from harness import Conn, Watch, expect

home, name = sys.argv[1:3]
PATH = os.path.join(home, "run", harness.socket_key(name) + ".sock")
TESTS = []


def test(function):
    TESTS.append((function.__name__.replace("_", " "), function))
    return function


def call(value):
    with Conn(PATH) as c:
        return c.request(value).reply()


def console():
    with Conn(PATH) as c:
        expect("reply", {}, c.request({"cmd": "console"}).reply())
        expect("one descriptor came", 1, len(c.fds))
        reader = socket.socket(fileno=c.fds.pop())
    reader.settimeout(harness.DEADLINE)
    return reader


def read_until(reader, wanted):
    data = b""
    while wanted not in data:
        more = reader.recv(65536)
        if not more:
            raise AssertionError(f"the console ended; it said {data[-300:]!r}")
        data += more
    return data


def member_stats():
    (row,) = call({"cmd": "stats"})["stats"]["members"]
    expect("name", name, row["name"])
    return row


@test
def a_console_begins_with_what_was_said_before():
    with console() as reader:
        reader.sendall(b"\n# for-those-who-come-later\n")
        read_until(reader, b"come-later")
    with console() as reader:
        read_until(reader, b"for-those-who-come-later")


@test
def several_readers_see_the_same_and_one_that_leaves_harms_none():
    with console() as first, console() as second:
        console().close()
        first.sendall(b"\n# seen-by-all\n")
        for reader in (first, second):
            read_until(reader, b"seen-by-all")


@test
def stats_tell_cpu_time_memory_disk_and_net():
    row = member_stats()
    for key in ("cpu_ms", "memory_bytes", "net_received_bytes", "net_sent_bytes"):
        expect(f"{key} {row[key]}", True, row[key] > 0)
    expect(f"disk {row}", True, row["disk_read_bytes"] >= 0 and row["disk_written_bytes"] >= 0)
    expect("more CPU time later", True, member_stats()["cpu_ms"] >= row["cpu_ms"])
    before = row["net_received_bytes"]
    with Conn(PATH) as c:
        expect("dial", {}, c.request({"cmd": "dial", "port": 22}).reply())
        with socket.socket(fileno=c.fds.pop()) as guest:
            guest.settimeout(harness.DEADLINE)
            expect("banner", b"SSH-", guest.recv(4))
    expect("a connection is counted", True, member_stats()["net_received_bytes"] > before)


@test
def stats_count_connections_requests_and_refusals():
    one = call({"cmd": "stats"})["stats"]["helper"]
    call({"cmd": "frobnicate"})
    two = call({"cmd": "stats"})["stats"]["helper"]
    expect("connections", 2, two["connections"] - one["connections"])
    expect("requests", 1, two["requests"] - one["requests"])
    expect("refusals", 1, two["refusals"] - one["refusals"])


@test
def a_paused_guest_is_silent_and_goes_on_when_resumed():
    watch = Watch(PATH)
    watch.request({"cmd": "watch"})
    expect("pause", {}, call({"cmd": "pause"}))
    watch.until(lambda event: event.get("state") == "paused")
    with Conn(PATH) as c:
        # The connection is the kernel's of the guest: while that stands still there is no banner.
        c.request({"cmd": "dial", "port": 22})
        expect("no answer while paused", [], select.select([c.sock], [], [], 1)[0])
        expect("resume", {}, call({"cmd": "resume"}))
        watch.until(lambda event: event.get("state") == "running")
        expect("dialed after all", {}, c.reply())
    watch.close()


@test
def a_path_that_is_not_there_fails_the_boot_by_name():
    other = name + "-x"
    call({"cmd": "reserve", "name": other})
    spec = {"name": other, "cpus": 1, "memory_bytes": 256 << 20, "disk_path": "/nonexistent/disk", "seed_path": ""}
    reply = call({"cmd": "boot-member", "spec": spec})
    expect(f"{reply}", True, "/nonexistent/disk" in reply["error"])


@test
def kill_is_answered_when_the_vm_is_gone():
    expect("kill", {}, call({"cmd": "kill"}))
    expect("the socket is gone", False, os.path.exists(PATH))


harness.main(TESTS)
