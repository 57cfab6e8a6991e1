#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Peers that mean harm, or only die at a bad moment: the answer that docs/protocol.md states, and what the others see.

environment: DROVER_HELPER
"""
import array
import json
import os
import resource
import select
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time

import harness
from harness import TESTS, Helper, Skip, code, expect, test

NOBODY = 65534


def descriptors(helper):
    return len(os.listdir(f"/proc/{helper.pid}/fd"))


def resident_kib(helper, field):
    with open(f"/proc/{helper.pid}/status", encoding="utf-8") as file:
        return [int(line.split()[1]) for line in file if line.startswith(field)][0]


def sanitized(helper):
    with open(f"/proc/{helper.pid}/maps", encoding="utf-8") as file:
        return "asan" in file.read()


def as_nobody(helper, suffix, data):
    """What another uid gets that finds the socket open to everybody."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        reply = b"no connection"
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            with helper.connect(suffix=suffix) as c:
                c.send(data)
                reply = c.line() or c.buffer
        finally:
            os.write(theirs, reply)
            os._exit(0)
    os.close(theirs)
    os.waitpid(child, 0)
    reply = os.read(ours, 4096)
    os.close(ours)
    return reply


def open_to_everybody(helper):
    os.chmod(harness.SCRATCH, 0o755)
    os.chmod(helper.home, 0o755)
    os.chmod(os.path.join(helper.home, "run"), 0o755)
    for name in os.listdir(os.path.join(helper.home, "run")):
        os.chmod(os.path.join(helper.home, "run", name), 0o666)


@test
def sockets_are_for_their_owner_by_file_mode():
    with Helper("solo", bound=os.getpid()) as h:
        run = os.path.join(h.home, "run")
        expect("run", 0o700, stat.S_IMODE(os.stat(run).st_mode))
        expect("sockets", {0o600}, {stat.S_IMODE(os.stat(os.path.join(run, n)).st_mode) for n in os.listdir(run)})


@test
def another_uid_is_refused_by_its_credentials():
    if os.geteuid() != 0:
        raise Skip("only root can be somebody else")
    with Helper("solo") as h:
        open_to_everybody(h)
        reply = json.loads(as_nobody(h, "sock", b'{"cmd":"stop"}'))
        expect("stop", "permission_denied", code(reply))
        expect("nothing was stopped", "starting", h.status()["state"])
        expect("counted", 1, h.call({"cmd": "stats"})["stats"]["helper"]["refusals"])


@test
def another_uid_cannot_bind_the_helper_to_itself():
    if os.geteuid() != 0:
        raise Skip("only root can be somebody else")
    with Helper("solo", bound=os.getpid()) as h:
        open_to_everybody(h)
        expect("handshake", b"", as_nobody(h, "ctl", b"bindack"))
        expect("its end ended nothing", "starting", h.status()["state"])


@test
def a_17th_handshake_at_once_is_closed_and_the_others_wait():
    with Helper("solo", bound=os.getpid()) as h:
        begun = [h.connect(suffix="ctl") for _ in range(16)]
        for c in begun:
            c.send(b"bind")
            expect("version", b"2", c.bytes(1))
        with h.connect(suffix="ctl") as late:
            expect("the 17th is closed", True, late.closed())
        h.expect_served("a peer that began 16 handshakes")
        expect("the 16 are open", True, all(c.silent() for c in begun))
        for c in begun:
            c.close()
        expect("their end ended nothing", "starting", h.status()["state"])


@test
def a_thousand_idle_connections_hurt_nobody():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 1200:
        raise Skip(f"this process may open {hard} files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1200), hard))
    with Helper("solo") as h:
        idle = [h.connect() for _ in range(1000)]
        expect("status", "starting", h.status()["state"])
        expect("boot", {}, h.boot("solo"))
        expect("the first to come was the first to go", "busy", code(idle[0].reply()))
        expect(f"{descriptors(h)} descriptors are within the limit", True, descriptors(h) < 300)
        if not sanitized(h):
            own = resident_kib(h, "RssAnon")
            expect(f"{own} KiB of its own are below 4 MiB", True, own < 4096)
        for conn in idle:
            conn.close()


@test
def a_watcher_that_never_reads_is_dropped_and_the_others_hear_all():
    with Helper("solo") as h:
        h.boot("solo")
        deaf = h.watch()
        with h.connect() as c:
            c.request({"cmd": "watch", "id": "w"})
            expect("the state there is", "running", c.reply()["state"])
            for i in range(6000):
                c.request({"cmd": "resume" if i % 2 else "pause", "id": i})
                expect("event", ("w", "running" if i % 2 else "paused"), (lambda e: (e["id"], e.get("state")))(c.reply()))
                expect("reply", {"id": i}, c.reply())
        expect("refusals", 1, h.call({"cmd": "stats"})["stats"]["helper"]["refusals"])
        while deaf.line() is not None:
            pass
        deaf.close()


@test
def a_peer_with_64_requests_under_way_is_not_read_before_one_ends():
    names = [f"m-{i}" for i in range(1, 65)]
    with Helper(*names, env={"DROVER_FAKE_BOOT_MS": "60000"}) as h:
        h.call({"cmd": "createnetwork"})
        for name in names:
            h.call({"cmd": "reserve", "name": name})
        with h.watch() as watch, h.connect() as c:
            watch.reply()  # it hears all from now on
            for name in names:
                c.request({"cmd": "boot-member", "spec": {"name": name}, "id": name})
            watch.until(lambda event: event["event"] == "stage" and event["name"] == names[-1])
            c.request({"cmd": "status", "id": "late"})
            h.expect_served("a peer with 64 requests under way")
            expect("its 65th waits", True, c.silent())
            h.call({"cmd": "kill", "name": "m-7"})
            expect("a boot ends", "m-7", c.reply()["id"])
            expect("then the 65th is answered", "late", c.reply()["id"])
        h.call({"cmd": "shutdown"})
        h.wait_exit()


@test
def a_bad_request_on_a_kept_connection_loses_no_reply_under_way():
    with Helper("a", env={"DROVER_FAKE_BOOT_MS": "200"}) as h:
        h.call({"cmd": "createnetwork"})
        h.call({"cmd": "reserve", "name": "a"})
        with h.connect() as c:
            c.send(b'{"cmd":"boot-member","spec":{"name":"a"},"id":1}{"cmd":"frobnicate","id":2}'
                   b'{"cmd":"status","id":3}')  # in one write, or the boot might end before the next; the last is not read
            expect("the bad one", (2, "unknown_command"), (lambda r: (r["id"], r["code"]))(c.reply()))
            expect("the boot", {"id": 1}, c.reply())
            expect("then the end", True, c.closed())


@test
def a_pause_during_a_boot_is_refused():
    with Helper("slow", "a", env={"DROVER_FAKE_BOOT_MS": "60000", "DROVER_FAKE_SLOW": "slow"}) as h:
        h.call({"cmd": "createnetwork"})
        h.call({"cmd": "reserve", "name": "slow"})
        with h.begin_boot("slow"):
            for verb in ("pause", "resume"):
                expect(verb, {"error": "member slow is starting", "code": "not_running"}, h.call({"cmd": verb}))
        h.call({"cmd": "kill"})
        expect("boot", {}, h.boot("a", via="a"))
        expect("pause", {}, h.call({"cmd": "pause"}, "a"))
        expect("state", "paused", h.status("a")["state"])
        expect("again", {}, h.call({"cmd": "pause"}, "a"))


@test
def a_wrong_option_is_told_on_the_ready_descriptor():
    for arguments, word in ((["--frobnicate"], "option"), (["--bound", "x"], "'x'"), (["--network", "lan"], "'lan'"),
                            (["--members", "a/b"], "'a/b'"), (["surplus"], "surplus")):
        h = Helper("solo", arguments=arguments)
        expect(f"{arguments}: exit code", 1, h.process.wait(harness.DEADLINE))
        expect(f"{arguments}: {h.ready!r}", True, h.ready.startswith("error ") and word in h.ready)
        expect("the same on stderr", True, h.ready.split(" ", 2)[2].strip() in h.log())
        harness.shutil.rmtree(h.home)
    # In front of --ready-fd too: what is wrong first is told.
    ready, theirs = os.pipe()
    helper = subprocess.run([os.environ["DROVER_HELPER"], "--members", "A", "--ready-fd", str(theirs)],
                            pass_fds=[theirs], stderr=subprocess.DEVNULL, check=False)
    os.close(theirs)
    expect("exit code", 1, helper.returncode)
    expect("told", True, os.read(ready, 4096).startswith(b"error invalid_name "))
    os.close(ready)


@test
def peers_that_leave_before_their_descriptor_comes_leak_none():
    with Helper("solo") as h:
        h.boot("solo")
        with h.connect() as other:
            for i in range(400):
                h.connect().request({"cmd": "dial", "port": 22}).close()
                h.connect().request({"cmd": "console"}).close()
                expect("another client", i, other.request({"cmd": "status", "id": i}).reply()["id"])
        expect(f"{descriptors(h)} descriptors are open", True, descriptors(h) < 300)


@test
def descriptors_that_a_peer_sends_are_closed():
    with Helper("solo") as h:
        null = os.open("/dev/null", os.O_RDONLY)
        with h.connect() as c:
            for i in range(300):
                c.sock.sendmsg([b'{"cmd":"status","id":%d}' % i],
                               [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [null] * 16))])
                expect("reply", i, c.reply()["id"])
            h.expect_served("a peer that sends descriptors")
            expect(f"{descriptors(h)} descriptors are open", True, descriptors(h) < 100)
        os.close(null)


@test
def a_full_log_disk_ends_no_helper():
    with Helper("solo", log="/dev/full") as h:
        h.boot("solo")
        h.process.send_signal(harness.signal.SIGHUP)
        expect("status", "running", h.status()["state"])
    if os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"], check=False).returncode != 0:
        return
    # The same with a real disk that fills up: a tmpfs of one page, in a mount namespace of the helper's own.
    home = harness.new_home()
    script = ('mkdir "$DROVER_HOME/logs" && mount -t tmpfs -o size=4k none "$DROVER_HOME/logs" && '
              'exec >"$DROVER_HOME/logs/log" 2>&1 && ! head -c 8192 /dev/zero && exec "$HELPER" "$@"')
    with tempfile.NamedTemporaryFile("w", suffix=".sh", dir=harness.SCRATCH) as wrapper:
        wrapper.write("#!/bin/sh\n" + 'exec unshare -m sh -c \'' + script + "' sh \"$@\"\n")
        wrapper.flush()
        os.chmod(wrapper.name, 0o755)
        program = os.environ["DROVER_HELPER"]
        copy = wrapper.name + ".run"
        harness.shutil.copy(wrapper.name, copy)
        os.environ["DROVER_HELPER"] = copy
        try:
            with Helper("solo", home=home, env={"HELPER": program}) as h:
                expect("ready", "ready\n", h.ready)
                h.boot("solo")
                expect("status", "running", h.status()["state"])
        finally:
            os.environ["DROVER_HELPER"] = program
            os.unlink(copy)
            harness.shutil.rmtree(home, ignore_errors=True)


@test
def bytes_that_trickle_in_win_no_time():
    # Opened first of all, looked at last: the other tests ran meanwhile.
    end = time.monotonic() + 2 * harness.DEADLINE
    while not select.select([DRIP.sock], [], [], 0.2)[0]:
        DRIP.send(b" ")
        patient.expect_served("a request that trickles in")
        expect("the request still waits after twice the time", True, time.monotonic() < end)
    expect("error", "timeout", code(DRIP.reply()))


@test
def a_handshake_without_its_ack_is_closed_and_ends_nothing():
    # Begun first of all too.
    expect("version", b"2", UNARMED.bytes(1))
    UNARMED.sock.settimeout(2 * harness.DEADLINE)
    expect("closed", True, UNARMED.closed())
    expect("the cluster is there", "starting", patient.status()["state"])


@test
def what_comes_during_a_save_whose_client_has_gone_waits_for_its_end():
    with Helper("a", env={"DROVER_FAKE_POINT_MS": "5000"}) as h:
        h.boot("a")
        with h.connect() as save:
            save.request({"cmd": "save", "point": "p"})
            # other connections are read in any order: this one tells that the save is under way
            while code(h.call({"cmd": "pause"})) != "busy":
                expect("resume", {}, h.call({"cmd": "resume"}))
            expect("points, while somebody waits for the save", "busy", code(h.call({"cmd": "points"})))
        with h.connect() as points, h.connect() as pause:
            given_up = h.connect().request({"cmd": "save", "point": "q"})
            points.request({"cmd": "points"})
            pause.request({"cmd": "pause"})
            h.status()
            given_up.close()
            expect("points", ["p"], [p["point"] for p in points.reply()["points"]])
            expect("pause", {}, pause.reply())
        expect("state", "paused", h.status()["state"])
        expect("points then", ["p"], [p["point"] for p in h.call({"cmd": "points"})["points"]])


@test
def a_save_whose_client_has_gone_before_anything_is_held_is_not_made():
    with Helper("a") as h:
        h.boot("a")
        os.kill(h.pid, signal.SIGSTOP)
        h.connect().request({"cmd": "save", "point": "p"}).close()
        os.kill(h.pid, signal.SIGCONT)
        expect("points", [], h.call({"cmd": "points"})["points"])
        with h.connect() as half:  # who only sends no more still listens
            half.request({"cmd": "save", "point": "q"}).sock.shutdown(socket.SHUT_WR)
            expect("held for", True, half.reply()["held_ms"] >= 0)


with Helper("patient", bound=os.getpid()) as patient:
    DRIP = patient.connect()
    UNARMED = patient.connect(suffix="ctl")
    UNARMED.send(b"bind")
    DRIP.send(b'{"cmd":')
    result = harness.run_tests(TESTS)
    DRIP.close()
    UNARMED.close()
sys.exit(result)
