#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The reference's own defects, each provoked here and shown absent. environment: DROVER_HELPER"""
import json
import os
import signal
import subprocess
import sys
import time

import harness
from harness import TESTS, Helper, code, expect, test

SLOW_BOOT = {"DROVER_FAKE_BOOT_MS": "60000"}
SHORT_BOOT = {"DROVER_FAKE_BOOT_MS": "200"}


def ready_for(helper, *names):
    helper.call({"cmd": "createnetwork"})
    for name in names:
        helper.call({"cmd": "reserve", "name": name})


@test
def half_a_request_and_silence_hurt_nobody():
    patient.expect_served("half a request")
    expect("half a request still waits", True, HALF.silent() and SILENT.silent())


@test
def a_second_boot_during_a_boot_is_refused_and_creates_nothing():
    with Helper("solo", env=SHORT_BOOT) as h:
        ready_for(h, "solo")
        with h.begin_boot("solo") as first:
            expect("second boot", "already_running", code(h.boot("solo", prepare=False)))
            expect("first boot", {}, first.reply())
        expect("creates", 1, len(h.record("create")))


@test
def a_stop_during_a_boot_ends_the_boot_and_tells_its_client():
    with Helper("solo", "other", env=SLOW_BOOT) as h:
        ready_for(h, "solo")
        with h.begin_boot("solo") as boot:
            expect("stop", {}, h.call({"cmd": "stop"}))
            reply = boot.reply()
        expect("boot", {"error": "member solo was stopped during boot", "code": "stopped"}, reply)
        h.wait_socket_gone("solo")
        expect("the VM was stopped", ["solo"], [row["name"] for row in h.record("stop")])


@test
def the_last_members_stop_during_its_boot_closes_the_network_only_after_the_vm_stopped():
    with Helper("solo", env=SLOW_BOOT) as h:
        ready_for(h, "solo")
        with h.begin_boot("solo") as boot:
            h.call({"cmd": "stop"})
            expect("boot", "stopped", code(boot.reply()))
        h.wait_exit()
        expect("order", ["create", "stop", "close"], [row["op"] for row in h.record() if row["op"] != "reserve"])


@test
def a_boot_goes_on_when_its_client_leaves():
    with Helper("solo", env=SHORT_BOOT) as h:
        ready_for(h, "solo")
        watch = h.watch()
        h.connect().request({"cmd": "boot-member", "spec": {"name": "solo"}}).close()
        watch.until(lambda event: event.get("state") == "running")
        watch.close()


@test
def a_member_booted_again_after_a_failed_boot_counts_as_alive():
    with Helper("a", "b", env={"DROVER_FAKE_FAIL_CREATE": "a"}) as h:
        expect("a fails", "boot_failed", code(h.boot("a")))
        expect("a fails again", "boot_failed", code(h.boot("a", prepare=False)))
        expect("b boots", {}, h.boot("b"))
        expect("state", "error", h.status("a")["state"])
        expect("b runs", "running", h.status("b")["state"])
        h.call({"cmd": "stop"}, "b")
        h.wait_exit()


@test
def a_retry_after_a_failed_boot_forgets_the_error_and_keeps_the_helper():
    with Helper("a", "b", env={"DROVER_FAKE_FAIL_CREATE": "a", "DROVER_FAKE_FAIL_COUNT": "1"}) as h:
        expect("a fails", "boot_failed", code(h.boot("a")))
        expect("b boots", {}, h.boot("b"))
        expect("a boots", {}, h.boot("a", prepare=False))
        expect("no stale error", False, "error" in h.status("a"))
        h.call({"cmd": "stop"}, "b")
        h.wait_socket_gone("b")
        expect("a lives on", "running", h.status("a")["state"])


@test
def the_cluster_is_reached_through_any_member_when_the_primary_has_left():
    with Helper("web-1", "web-2") as h:
        h.boot("web-1")
        h.boot("web-2")
        h.call({"cmd": "stop"}, "web-1")
        h.wait_socket_gone("web-1")
        expect("add a third", {}, h.boot("web-3", via="web-2"))
        expect("the primary comes back", {}, h.boot("web-1", via="web-3"))
        expect("its socket answers", "running", h.status("web-1")["state"])


@test
def a_detached_helper_takes_no_owner_from_the_environment():
    dead = subprocess.Popen(["true"])
    dead.wait()
    env = {name: str(dead.pid) for name in ("DROVER_PARENT_PID", "FLEETBOX_PARENT_PID")}
    with Helper("solo", env=env) as h:
        expect("no bind socket", False, os.path.exists(h.path("solo", "ctl")))
        expect("status", "starting", h.status()["state"])
        expect("alive", True, h.alive())


@test
def a_bound_helper_leaves_when_its_client_is_killed():
    client = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    with Helper("a", "b", bound=client.pid) as h:
        h.boot("a")
        client.kill()
        client.wait()
        client.stdin.close()
        h.wait_exit()
        expect("nothing left", [], h.left())


@test
def a_client_that_dies_during_a_graceful_stop_cuts_it_short():
    client = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    with Helper("a", "b", bound=client.pid, env={"DROVER_FAKE_STOP_MS": "60000"}) as h:
        h.boot("a")
        watch = h.watch()
        h.call({"cmd": "shutdown"})
        watch.until(lambda event: event.get("state") == "stopping" and event.get("name") == "a")
        client.kill()
        client.wait()
        client.stdin.close()
        h.wait_exit()
        watch.close()
        expect("nothing left", [], h.left())


@test
def a_pid_that_now_is_somebody_elses_does_not_count():
    """pidfile and owner name a live process, but not the start time of it."""
    old = Helper("solo")
    with open(old.member_path("solo", "owner"), encoding="ascii") as file:
        _, start, boot = file.read().split()
    old.process.kill()
    old.process.wait()
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as other:
        for name, text in (("pid", f"{other.pid}"), ("owner", f"{other.pid} {start} {boot}")):
            with open(old.member_path("solo", name), "w", encoding="ascii") as file:
                file.write(text)
        with Helper("solo", home=old.home, own_home=False) as h:
            expect("ready", "ready\n", h.ready)
            expect("pid", h.pid, h.status()["pid"])
        expect("the other is left alone", None, other.poll())
        other.stdin.close()
    harness.shutil.rmtree(old.home)


@test
def a_helper_for_a_client_that_is_dead_already_does_not_start():
    dead = subprocess.Popen(["true"])
    dead.wait()
    h = Helper("solo", bound=dead.pid)
    expect("exit code", 1, h.process.wait(harness.DEADLINE))
    expect("nothing left", [], h.left())
    harness.shutil.rmtree(h.home)


@test
def a_helper_is_bound_or_has_a_starter_and_not_both():
    h = Helper("solo", arguments=("--starter", str(os.getpid())), bound=os.getpid())
    expect("exit code", 1, h.process.wait(harness.DEADLINE))
    expect("why", True, "--bound and --starter do not go together" in h.log())
    harness.shutil.rmtree(h.home)


@test
def names_that_are_none_do_not_start_a_helper():
    for bad in ("../../x", "", "a/b", "a,,b", "A", "x" * 64, "a,a"):
        h = Helper(bad)
        expect(f"exit code for {bad!r}", 1, h.process.wait(harness.DEADLINE))
        expect(f"{bad!r} is named on stderr", True, "name" in h.log())
        found = [f for f in os.listdir(h.home) if f not in ("log", "record", "run", "clusters", "images")]
        expect("nothing outside", [], found)
        expect("no member", [], os.listdir(h.home + "/clusters") if os.path.exists(h.home + "/clusters") else [])
        harness.shutil.rmtree(h.home)


@test
def a_killed_helper_that_nobody_reaped_is_replaced():
    old = Helper("solo")
    old.process.kill()
    os.waitid(os.P_PID, old.pid, os.WEXITED | os.WNOWAIT)  # dead, and a zombie until the end of this test
    with Helper("solo", home=old.home, own_home=False) as h:
        expect("ready", "ready\n", h.ready)
        expect("pid", h.pid, h.status()["pid"])
    old.process.wait()
    harness.shutil.rmtree(old.home)


@test
def a_second_helper_for_a_live_member_is_refused_and_harms_nothing():
    with Helper("solo") as h:
        second = Helper("solo", home=h.home, own_home=False)
        expect("exit code", 1, second.process.wait(harness.DEADLINE))
        expect("reason", True, second.ready.startswith("error already_running "))
        expect("the first answers", h.pid, h.status()["pid"])


@test
def three_hundred_idle_connections_do_not_hurt_others():
    with Helper("solo") as h:
        idle = [h.connect() for _ in range(300)]
        expect("status", "starting", h.status()["state"])
        expect("boot", {}, h.boot("solo"))
        expect("the first to come is the first to go", "busy", code(idle[0].reply()))
        fds = len(os.listdir(f"/proc/{h.pid}/fd"))
        expect(f"{fds} descriptors are within the limit", True, fds < 300)
        for conn in idle:
            conn.close()


@test
def a_request_over_one_mebibyte_is_refused_and_the_helper_stays_small():
    with Helper("solo") as h:
        for text in (b'{"cmd":"', b'{"cmd":"status","x":['):
            with h.connect() as c:
                for _ in range(64):
                    if not c.send(b" " * (1 << 20)):
                        break
                    if text:
                        c.send(text + b" " * (1 << 19))
                        text = b""
                        h.expect_served("a line without an end")
                expect("error", "too_large", code(c.reply()))
                expect("closed", True, c.closed())
        if "asan" not in open(f"/proc/{h.pid}/maps", encoding="utf-8").read():
            with open(f"/proc/{h.pid}/status", encoding="utf-8") as file:
                peak = [int(line.split()[1]) for line in file if line.startswith("VmHWM")][0]
            expect(f"peak {peak} kB is below 32 MiB", True, peak < 32768)
        expect("status", "starting", h.status()["state"])


@test
def many_large_unfinished_requests_are_bounded_together():
    with Helper("solo") as h:
        conns = []
        for _ in range(16):
            c = h.connect()
            c.send(b'{"cmd":"' + b"x" * 900000)
            conns.append(c)
        h.expect_served("a large unfinished request on each of 16 connections")
        with open(f"/proc/{h.pid}/status", encoding="utf-8") as file:
            own = [int(line.split()[1]) for line in file if line.startswith("RssAnon")][0]
        if "asan" not in open(f"/proc/{h.pid}/maps", encoding="utf-8").read():
            expect(f"{own} KiB of its own are below 16 MiB", True, own < 16384)
        refused = 0
        for c in conns:
            c.sock.shutdown(harness.socket.SHUT_WR)
            refused += code(c.reply()) == "busy"
            c.close()
        expect(f"{refused} of 16 are refused", True, refused >= 6)


@test
def bad_input_of_every_kind_leaves_the_helper_alive():
    bad = [b"\0" * 100, b"{" * 1000, b'{"cmd":"status"' + b",\"a\":1" * 1000 + b"}", b'{"cmd":"\xc3\x28"}', b"}{",
           b'{"cmd":"status","id":1e400}', b'{"cmd":"dial","port":99999999999999999999999}',
           b'{"cmd":"dial","port":1.5}', b'{"cmd":"boot-member","spec":{"name":"a","memory_bytes":-1}}',
           b'{"cmd":"boot-member","spec":{"name":"a","cpus":1e3}}', b'{"cmd":"status","id":"' + b"x" * 300 + b'"}',
           b'{"cmd":"boot-member","spec":{"name":"a","fixture_paths":' + json.dumps(["x"] * 99).encode() + b"}}",
           b'{"cmd":"st\\u0000atus"}', b"{\"a\":" * 40 + b"1" + b"}" * 40]
    with Helper("solo") as h:
        for data in bad:
            with h.connect() as c:
                c.send(data + b"\n")
                c.sock.shutdown(harness.socket.SHUT_WR)
                h.expect_served(f"{data[:40]}")
                reply = c.reply()
                if reply is not None and "status" not in reply:
                    expect(f"{data[:40]} has a sentence and a code", True, bool(reply["error"] and reply["code"]))
                expect(f"{data[:40]} is the connection's end", True, c.closed())
        expect("status", "starting", h.status()["state"])
        expect("refusals are counted", True, h.call({"cmd": "stats"})["stats"]["helper"]["refusals"] >= 10)


@test
def a_client_that_asks_and_does_not_read_is_held_back():
    with Helper("solo") as h:
        with h.connect() as c:
            c.sock.setblocking(False)
            request = b'{"cmd":"hello","id":1}' * 1000
            sent = 0
            try:
                while sent < 64 << 20:
                    sent += c.sock.send(request)
            except BlockingIOError:
                pass
            expect(f"the helper stopped to read after {sent} bytes", True, sent < 64 << 20)
            h.expect_served("a peer that asks and does not read")


@test
def from_spawn_to_the_first_reply_nothing_waits():
    best = 1.0
    for _ in range(40):  # a wait would be in each of them, a busy machine is not
        best = min(best, max(0, _spawn_seconds() - 10 * _process_seconds()))
        if best < 0.1:
            break
    expect(f"at best {best * 1000:.1f} ms more than ten processes, below the reference's floor of 100", True, best < 0.1)


def _process_seconds():
    """What the machine takes now for one that does nothing."""
    start = time.monotonic()
    subprocess.run(["true"], check=True)
    return time.monotonic() - start


def _spawn_seconds():
    start = time.monotonic()
    with Helper("solo") as h:
        h.status()
        return time.monotonic() - start


@test
def a_member_whose_pidfile_vanished_is_still_stopped():
    with Helper("solo") as h:
        h.boot("solo")
        for file in ("pid", "owner"):
            os.unlink(h.member_path("solo", file))
        expect("stop", {}, h.call({"cmd": "stop"}))
        h.wait_exit()
        expect("stopped", 1, len(h.record("stop")))


@test
def members_stop_side_by_side():
    names = [f"m-{i}" for i in range(1, 11)]
    with Helper(*names, env={"DROVER_FAKE_STOP_MS": "300"}) as h:
        for name in names:
            h.boot(name)
        watch = h.watch()
        h.call({"cmd": "shutdown"})
        states = [e["state"] for e in watch.until(lambda e: e.get("state") == "stopped") if e["event"] == "state"]
        expect("all stop before the first has stopped", ["running"] * 10 + ["stopping"] * 10 + ["stopped"], states)
        watch.close()
        h.wait_exit()
        expect("stops", 10, len(h.record("stop")))


@test
def a_kill_overtakes_a_stop_that_hangs():
    with Helper("a", "b", env={"DROVER_FAKE_STOP_MS": "60000"}) as h:
        h.boot("a")
        h.call({"cmd": "stop"}, "a")
        expect("stopping", "stopping", h.status("a")["state"])
        expect("kill", {}, h.call({"cmd": "kill", "name": "a"}, "b"))
        expect("gone", False, os.path.exists(h.path("a")))
        h.call({"cmd": "kill"}, "b")


@test
def a_second_sigterm_cuts_the_power():
    with Helper("a", env={"DROVER_FAKE_STOP_MS": "60000"}) as h:
        h.boot("a")
        watch = h.watch()
        h.process.send_signal(signal.SIGTERM)
        watch.until(lambda event: event.get("state") == "stopping")
        h.process.send_signal(signal.SIGTERM)
        h.wait_exit()
        watch.close()


@test
def a_hang_up_means_nothing_to_a_detached_helper():
    with Helper("solo") as h:
        h.boot("solo")
        h.process.send_signal(signal.SIGHUP)
        expect("status", "running", h.status()["state"])
        expect("alive", True, h.alive())


@test
def a_hang_up_ends_a_bound_helper_in_order():
    with Helper("solo", bound=os.getpid()) as h:
        h.boot("solo")
        h.process.send_signal(signal.SIGHUP)
        h.wait_exit()
        expect("order", ["stop", "close"], [row["op"] for row in h.record()][-2:])
        expect("nothing left", [], h.left())


@test
def hello_tells_protocol_and_features():
    with Helper("solo") as h:
        hello = h.call({"cmd": "hello"})["hello"]
        expect("protocol", "2", hello["protocol"])
        expect("backend", "fake", hello["backend"])
        for feature in ("id", "watch", "dial", "console", "pause", "kill", "shutdown", "stats", "code"):
            expect(f"feature {feature}", True, feature in hello["features"])


def _echo_over(helper, request):
    with helper.connect() as c:
        expect("reply", {}, c.request(request).reply())
        expect("one descriptor came", 1, len(c.fds))
        with harness.socket.socket(fileno=c.fds.pop()) as passed:
            passed.settimeout(harness.DEADLINE)
            passed.sendall(b"there and back")
            expect("echo", b"there and back", passed.recv(100))


@test
def dial_passes_a_connected_socket():
    with Helper("solo") as h:
        h.boot("solo")
        _echo_over(h, {"cmd": "dial", "port": 22})


@test
def console_passes_a_socket_too():
    with Helper("solo") as h:
        h.boot("solo")
        _echo_over(h, {"cmd": "console"})


@test
def stats_count_what_the_helper_did():
    with Helper("a", "b") as h:
        h.boot("a")
        stats = h.call({"cmd": "stats"})["stats"]
        expect("members with a VM", ["a"], [row["name"] for row in stats["members"]])
        expect("requests", 4, stats["helper"]["requests"])


@test
def a_watcher_is_told_of_the_end():
    with Helper("solo") as h:
        h.boot("solo")
        watch = h.watch()
        h.call({"cmd": "stop"})
        events = watch.until(lambda event: event["event"] == "gone")
        expect("end", True, watch.closed())
        expect("states", ["running", "stopping", "stopped"], [e["state"] for e in events if e["event"] == "state"])
        watch.close()


@test
def requests_with_ids_are_many_at_once_and_answered_each():
    with Helper("a", "b", "c", env=SHORT_BOOT) as h:
        ready_for(h, "a", "b", "c")
        with h.connect() as c:
            # in one write, or a boot might end before the status is asked for
            c.send(b"".join(b'{"cmd":"boot-member","spec":{"name":"%c"},"id":"%c"}' % (name, name) for name in b"abc") +
                   b'{"cmd":"status","id":"s"}')
            expect("status comes first", "s", c.reply()["id"])
            first = c.reply()["id"]
            expect("the boots run side by side: all were begun when the first ends", 3, len(h.record("create")))
            expect("then the boots", {"a", "b", "c"}, {first, *(c.reply()["id"] for _ in range(2))})


@test
def a_helper_whose_last_member_goes_while_the_network_is_made_ends():
    with Helper("solo") as h:
        with h.connect() as c:
            # in one write: the stop is read before the network is there
            c.send(b'{"cmd":"createnetwork","id":1}\n{"cmd":"stop","id":2}\n')
            h.wait_exit()
        expect("no VM was there to stop", [], h.record("stop"))


@test
def half_a_request_and_silence_ends_after_ten_seconds():
    # Begun first of all, looked at last: the others ran meanwhile.
    expect("error", "timeout", code(HALF.reply()))
    expect("closed", True, HALF.closed())
    expect("the silent one too", "timeout", code(SILENT.reply()))


with Helper("half") as patient:
    HALF, SILENT = patient.connect(), patient.connect()
    HALF.send(b'{"cmd":"sta')
    result = harness.run_tests(TESTS)
    HALF.close()
    SILENT.close()
sys.exit(result)
