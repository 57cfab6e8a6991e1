#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A helper that follows one that was killed and lacks a descriptor, at each call that needs one: nothing of the cluster is lost,
and the helper that follows it takes all over. A helper of the qemu backend in its own namespaces, with a VM of QEMU's
whose disk is empty.

usage: takeover.py SHORTAGE   environment: DROVER_HELPER, PYTHONPATH (tests/protocol)
"""
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys

import harness
from harness import TESTS, Helper, Skip, expect, has_sandbox, main, test

MOST = 200  # calls that a takeover may make
SHORTAGE = os.path.realpath(sys.argv[1])
EGRESS = shutil.which("slirp4netns") is not None


def told(path):
    """What /proc tells of a process, "" of one that has ended since."""
    try:
        with open(path, encoding="ascii") as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def children(pid):
    return [int(child) for child in told(f"/proc/{pid}/task/{pid}/children").split()]


def name_of(pid):
    return told(f"/proc/{pid}/comm").strip()


class Cluster(Helper):
    """One of a member, a, whose VM has been started and never answers; booting is what it does."""

    def __init__(self, home):
        with open(os.path.join(home, "disk"), "wb") as file:
            file.truncate(1 << 20)
        self.token = os.path.join(home, "token")
        env = {"LD_PRELOAD": SHORTAGE, "SHORTAGE_FILE": self.token}
        super().__init__("a", home=home, env=env, arguments=("--backend", "qemu"))
        expect("ready", "ready\n", self.ready)
        self.call({"cmd": "createnetwork", "no_egress": not EGRESS})
        self.call({"cmd": "reserve", "name": "a"})
        spec = {"name": "a", "disk_path": os.path.join(home, "disk"), "cpus": 1, "memory_bytes": 64 << 20}
        self.boot_conn = self.connect().request({"cmd": "boot-member", "spec": spec})
        with self.watch() as watch:
            watch.until(lambda event: event["event"] == "stage")
        self.init = children(self.pid)[0]

    def helper(self):
        return [pid for pid in children(self.init) if name_of(pid) == "drover-helper"][0]

    def others(self):
        """What must outlive helpers: of init's children after a crash, or its helper's."""
        found = {}
        for parent in (self.init, *children(self.init)):
            for pid in children(parent):
                found[name_of(pid)] = pid
        for pid in list(found.values()):  # the launcher's child
            found.update({name_of(child): child for child in children(pid)})
        return {name: found[name] for name in ("dnsmasq", "qemu-system-x86", *(["slirp4netns"] if EGRESS else []))}

    def bridge(self):
        """The number of the bridge, and of the interfaces on it."""
        told = subprocess.run(["nsenter", f"--net=/proc/{self.init}/ns/net", *self.as_user(), "ip", "-json", "link"],
                              check=True, capture_output=True).stdout
        links = {link["ifname"]: link for link in json.loads(told)}
        return links["br0"]["ifindex"], [n for n, link in links.items() if link.get("master") == "br0"]

    def as_user(self):
        return [] if os.geteuid() == 0 else [f"--user=/proc/{self.init}/ns/user", "--preserve-credentials"]

    def crash(self, lacks):
        with open(self.token, "w", encoding="ascii") as file:
            file.write(str(lacks))
        pid = self.helper()
        pidfd = os.pidfd_open(pid)
        os.kill(pid, 9)
        harness.select.select([pidfd], [], [], harness.DEADLINE)
        os.close(pidfd)

    def answer(self, request):
        """Of whichever helper gets to answer; one that crashes in between ends the connection."""
        for _ in range(4):
            with self.connect() as c:
                reply = c.request(request).reply()
            if reply:
                return reply
        return None


def lack(call):
    """The call of the takeover that failed, "" when there were fewer than that."""
    home = harness.new_home()
    with Cluster(home) as c:
        before = c.others(), c.bridge()
        c.crash(call)
        status = c.answer({"cmd": "status"})
        stats = c.answer({"cmd": "stats"})
        found = re.search(r"^shortage: (\w+)", c.log(), re.M)
        name = found[1] if found else ""
        expect(f"call {call}, {name}: state", "starting", status["status"]["state"])
        expect(f"call {call}, {name}: the hypervisor answers", ["a"], [row["name"] for row in stats["stats"]["members"]])
        expect(f"call {call}, {name}: VM, dnsmasq, way out, bridge and what is on it", before, (c.others(), c.bridge()))
        expect(f"call {call}, {name}: the way out goes on", False, "no way out" in c.log())
        c.boot_conn.close()
    return name


@test
def a_takeover_that_lacks_a_descriptor_loses_nothing_and_the_next_one_works():
    if not has_sandbox():
        raise Skip("this host makes no namespaces")
    for call in range(1, MOST):
        if not lack(call):
            break
        print(f"# {call}", flush=True)
    expect("the takeover came to its end", True, 3 < call < MOST - 1)


@test
def what_is_asked_about_a_vm_that_is_taken_over_and_silent_waits_for_it_and_no_longer_than_its_client():
    if not has_sandbox():
        raise Skip("this host makes no namespaces")
    with Cluster(harness.new_home()) as c:
        qemu = c.others()["qemu-system-x86"]
        os.kill(qemu, signal.SIGSTOP)
        c.crash(0)
        given_up, stats = (c.connect().request({"cmd": "stats", "id": 1}) for _ in range(2))
        with c.connect() as kept:
            pause = kept.request({"cmd": "pause", "id": 1})
            status = kept.request({"cmd": "status", "id": 2}).reply()
            expect("it is heard meanwhile", (2, "starting"), (status["id"], status["status"]["state"]))
            given_up.close()
            os.kill(qemu, signal.SIGCONT)
            expect("figures that are of it", ["a"], [row["name"] for row in stats.reply()["stats"]["members"]])
            expect("a pause is refused when it is known that the boot goes on", "member a is starting", pause.reply()["error"])
        stats.close()
        c.boot_conn.close()


@test
def a_vm_that_is_silent_when_it_is_taken_over_is_stopped_like_any_other():
    if not has_sandbox():
        raise Skip("this host makes no namespaces")
    with Cluster(harness.new_home()) as c:
        os.kill(c.others()["qemu-system-x86"], signal.SIGSTOP)
        c.crash(0)
        stats = c.connect().request({"cmd": "stats"})
        with c.connect() as stop:
            expect("the stop", {}, stop.request({"cmd": "kill"}).reply())
        expect("who waits is told", [], stats.reply()["stats"]["members"])
        stats.close()
        c.boot_conn.close()


def said(log, wanted):
    """Reads on in what tail prints of a log, until it says that."""
    for line in log.stdout:
        if wanted in line:
            return
    raise AssertionError(f"the log ended without '{wanted}'")


@test
def a_way_out_that_ends_while_descriptors_lack_comes_back_when_there_are_some():
    if not has_sandbox() or not EGRESS:
        raise Skip("this host makes no namespaces, or has no slirp4netns")
    with Cluster(harness.new_home()) as c, \
            subprocess.Popen(["timeout", "60", "tail", "-n", "+1", "-f", c.log_path], text=True, stdout=subprocess.PIPE) as log:
        helper = c.helper()
        limits = resource.prlimit(helper, resource.RLIMIT_NOFILE)
        resource.prlimit(helper, resource.RLIMIT_NOFILE, (0, limits[1]))
        slirp = c.others()["slirp4netns"]
        launcher = int(told(f"/proc/{slirp}/stat").rsplit(")", 1)[1].split()[1])
        os.kill(slirp, 9)
        said(log, "no way out any more")
        resource.prlimit(helper, resource.RLIMIT_NOFILE, limits)
        said(log, "slirp4netns was started again")
        expect("the launcher has another", True, len(children(launcher)) == 1 and children(launcher) != [slirp])
        log.kill()
        c.boot_conn.close()


main(TESTS)
