#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The kill matrix with real guests: SIGKILL of every process of a cluster at each stage of its life, bound and detached, on a
private network and on one of the host.

usage: guest_matrix.py DROVER HELPER [PATTERN]     (PATTERN: only cases whose name has it, a regular expression)

After each kill: exactly the survivors run, and are the same processes as before but for the one that was started again;
the audit lists theirs and nothing else; what goes on is reached over SSH, saved, put back and copied; where all is gone the
next up works; at the end nothing is left. Stages are told by events: a line of the command, an event of a watch, the echo of
a session, what inotify tells of a file. Guests are of the image tiny; two cases stop debian-12 and check its file system. TAP; the table is in the comments
at the end.

Root's run is in network and mount namespaces of its own, which play the host: nothing of the real one is touched.
"""
import ctypes
import hashlib
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from kill_matrix import Wrong, left_of, print_table

DROVER, HELPER = (str(Path(p).resolve()) for p in sys.argv[1:3])
PATTERN = sys.argv[3] if len(sys.argv) > 3 else ""
PATIENCE = 120  # seconds that any single event may take: guests boot without KVM
CACHE = os.environ.get("DROVER_IMAGE_CACHE",
                       os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache")) + "/drover/images")

# A role by the name that the kernel has for the process (15 characters).
ROLES = {"drover-init": "init", "drover-helper": "helper", "drover-egress": "launcher", "qemu-system-x86": "qemu",
         "dnsmasq": "dnsmasq", "slirp4netns": "slirp4netns"}
EVERYBODY = {"supervisor", "init", "helper", "launcher", "qemu", "dnsmasq", "slirp4netns"}
WAY_OUT = {"launcher", "slirp4netns"}  # of a private network
# Killed alone, others take their places.
MENDED = {"helper": {"helper"}, "dnsmasq": {"dnsmasq"}, "slirp4netns": {"slirp4netns"}, "launcher": WAY_OUT}
SAID = {"dnsmasq": "dnsmasq was started again", "slirp4netns": "slirp4netns was started again",
        "launcher": "slirp4netns was started again", "helper": "took over 1 members"}

STAGES = ("boot", "exec", "stop", "rm")
# The guest is held at one instant when the kill comes.
HELD = {"save": ["snapshot", "save", "m", "point"], "reset": ["reset", "m", "point"], "fork": ["fork", "m", "copy"]}
# A template is being made, or a member goes on from one (--warm).
WARM = ("template", "warm")
IN_ACCESS, IN_MODIFY, IN_CREATE = 1, 2, 0x100  # of inotify
VICTIMS = ("client", "supervisor", "init", "helper", "qemu", "dnsmasq", "slirp4netns", "launcher")


class Row(NamedTuple):
    lifetime: str
    network: str
    stage: str
    victim: str
    image: str = "tiny"

    def __str__(self):
        return f"{self.lifetime}, {self.network}, {self.stage}, kill -9 of {self.victim}, {self.image}"

    def everybody(self):
        if self.stage == "template":
            return EVERYBODY - {"slirp4netns"}  # its cluster has no way out
        return EVERYBODY if self.network == "private" else EVERYBODY - WAY_OUT

    def once_more(self):
        """Whether the command blames the template, and makes another and the member once more."""
        return self.stage == "warm" and self.victim in ("supervisor", "init", "qemu")

    def options(self):
        more = ["--mem", "256M", "--cpus", "1", "--warm"] if self.stage in WARM else []
        return ["--image", self.image, "--network", self.network, *more]

    def survivors(self):
        """Who runs when all has settled: everybody or nobody."""
        if self.stage in ("stop", "rm", "template") or self.victim in ("owner", "supervisor", "init", "qemu"):
            return set()
        if self.lifetime == "bound" and (self.victim == "helper" or (self.victim, self.stage) == ("client", "boot")):
            return set()  # the client of a bound cluster's boot is its owner
        return self.everybody()


def cases():
    for stage in STAGES:
        for victim in VICTIMS:
            yield Row("detached", "private", stage, victim)
    for stage in STAGES:
        for victim in ("client", "owner", *VICTIMS[1:]):
            if (stage, victim) != ("boot", "owner"):  # the client is
                yield Row("bound", "private", stage, victim)
    for stage in (*HELD, *WARM):
        for victim in VICTIMS[:5]:
            yield Row("detached", "private", stage, victim)
    for stage in STAGES if os.geteuid() == 0 else ():
        for victim in VICTIMS[:6]:
            yield Row("detached", "host", stage, victim)
    for stage, victim in (("boot", "client"), ("exec", "owner"), ("exec", "supervisor"), ("exec", "init"), ("exec", "helper"),
                          ("stop", "owner"), ("rm", "helper")) if os.geteuid() == 0 else ():
        yield Row("bound", "host", stage, victim)
    yield Row("detached", "private", "stop", "helper", "debian-12")
    yield Row("detached", "private", "stop", "client", "debian-12")


HOST = """mount -t tmpfs none /run && ip link set lo up && ip link add up0 type bridge && ip link set up0 up &&
    ip addr add 192.0.2.2/24 dev up0 && ip route add default via 192.0.2.1 dev up0 && echo 0 >/proc/sys/net/ipv4/ip_forward"""


def play_host():
    """Goes on in namespaces with an interface that has the default route."""
    if os.geteuid() != 0:
        return
    if "DROVER_TEST_INSIDE" not in os.environ:
        os.environ["DROVER_TEST_INSIDE"] = "1"
        os.execvp("unshare", ["unshare", "-nm", "--propagation", "private", sys.executable, *sys.argv])
    subprocess.run(["sh", "-ec", HOST], check=True)


def left_on_host():
    """What is left of a network of the host."""
    left = [line for line in subprocess.run("ip -o link; nft list tables ip", shell=True, check=True, capture_output=True,
                                            text=True).stdout.splitlines() if re.search(r": drv|drover_", line)]
    if Path("/proc/sys/net/ipv4/conf/up0/forwarding").read_text() != "0\n":
        left.append("up0 forwards")
    return left + [str(p) for p in Path("/run").glob("drover*")]


def stat_of(pid):
    """Name and parent of a process, or None."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    name, rest = text[text.index("(") + 1:].rsplit(")", 1)
    return name, int(rest.split()[1])


def family(top):
    """{role: pid} of everything below the supervisor @top, and itself."""
    known = {int(p.name): stat_of(p.name) for p in Path("/proc").glob("[0-9]*")}
    found, grown = {top}, True
    while grown:
        more = {pid for pid, s in known.items() if s and s[1] in found} - found
        found |= more
        grown = bool(more)
    roles = {ROLES[known[pid][0]]: pid for pid in found - {top} if known[pid] and known[pid][0] in ROLES}
    return {"supervisor": top, **roles}


class Changes:
    """What inotify tells of one file or directory."""

    def __init__(self, path, mask):
        libc = ctypes.CDLL(None, use_errno=True)
        self.fd = libc.inotify_init()
        if libc.inotify_add_watch(self.fd, os.fsencode(path), mask) < 0:
            raise OSError(ctypes.get_errno(), "inotify", str(path))

    def wait(self):
        if not select.select([self.fd], [], [], PATIENCE)[0]:
            raise Wrong("nothing happens to a file")
        os.read(self.fd, 4096)

    def __del__(self):
        os.close(self.fd)


class Case:
    def __init__(self, row):
        self.row = row
        self.home = Path(tempfile.mkdtemp(prefix="drover-fault."))
        self.children = []
        self.client = self.owner = None
        self.clean_ms = 0

    # --- Programs

    def env(self):
        env = {k: v for k, v in os.environ.items() if not k.startswith("DROVER_")}
        cache = str(self.home / "images") if self.row.stage in WARM else CACHE
        return {**env, "DROVER_HOME": str(self.home / "h"), "DROVER_HELPER": HELPER, "DROVER_IMAGE_CACHE": cache}

    def run(self, *args):
        return subprocess.run([DROVER, *args], env=self.env(), stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=2 * PATIENCE, check=False)

    def must(self, *args):
        done = self.run(*args)
        if done.returncode != 0:
            raise Wrong(f"{' '.join(args)}: exit {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def start(self, *args):
        child = subprocess.Popen([DROVER, *args], env=self.env(), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                 stderr=subprocess.STDOUT, bufsize=0)
        self.children.append(child)
        return child

    def read_until(self, child, text):
        """Reads lines of @child up to one with @text in it."""
        end = time.monotonic() + PATIENCE
        seen = line = b""
        while text.encode() not in line:
            line = b""
            while not line.endswith(b"\n"):
                if not select.select([child.stdout], [], [], max(0, end - time.monotonic()))[0]:
                    raise Wrong(f"no '{text}' within {PATIENCE} s: {seen.decode(errors='replace')}")
                byte = child.stdout.read(1)
                if not byte:
                    raise Wrong(f"the end instead of '{text}': {seen.decode(errors='replace')}")
                line += byte
            seen += line

    def watch(self):
        """A connection that has heard of the member's state."""
        key = hashlib.sha256(b"m").hexdigest()[:16]
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(PATIENCE)
        s.connect(str(self.home / "h/run" / f"{key}.sock"))
        s.sendall(b'{"cmd":"watch"}\n')
        lines = s.makefile()
        self.await_event(lines, {"event": "state"})
        return lines

    @staticmethod
    def await_event(lines, wanted):
        for line in lines:
            event = json.loads(line)
            if all(event.get(k) == v for k, v in wanted.items()):
                return
        raise Wrong(f"the watch ended before {wanted}")

    # --- Stages

    def begin(self):
        """Brings the cluster to the stage. Afterwards self.client is under way."""
        options = self.row.options()
        if self.row.stage in WARM:
            shutil.copytree(Path(CACHE) / "tiny", self.home / "images/tiny")
        if self.row.stage == "warm":
            self.must("up", "first", *options)
            self.must("rm", "-f", "first")
        if self.row.lifetime == "detached":
            first = self.start("up", "m", *options)
        else:
            first = self.owner = self.start("run", "m", *options, "--", "sh", "-c", "echo it runs; exec cat")
        if self.row.stage == "template":
            self.client = first
            self.read_until(first, "preparing")
            return
        if self.row.stage in ("boot", "warm"):
            self.client = first
            self.read_until(first, "stage=start")
            self.await_event(self.watch(), {"event": "stage", "stage": "booting"})
            return
        if self.row.lifetime == "bound":
            self.read_until(first, "it runs")
        elif first.wait(PATIENCE) != 0:
            raise Wrong(f"up: {first.stdout.read().decode()}")
        if self.row.stage == "exec":
            self.client = self.start("exec", "m", "--", "sh", "-c", "echo here; exec cat")
            self.read_until(self.client, "here")
            return
        if self.row.stage in HELD:
            self.hold()
            return
        lines = self.watch()
        self.client = self.start(*(["down"] if self.row.stage == "stop" else ["rm", "-f"]), "m")
        self.await_event(lines, {"event": "state", "state": "stopping"})

    def hold(self):
        """Has the guest saved, put back or copied, up to the first sign of that in its files."""
        points = self.home / "h/clusters/m/m/points.qcow2"
        if self.row.stage != "fork":
            self.must(*HELD["save"])
            changes = Changes(points, IN_MODIFY if self.row.stage == "save" else IN_ACCESS)
        self.client = self.start(*HELD[self.row.stage])
        if self.row.stage != "fork":
            changes.wait()
            return
        path = self.home / "h"
        for pattern in ("captures", "[!.]*", "m.memory"):
            changes = Changes(path, IN_CREATE)
            while not (found := next(path.glob(pattern), None)):
                changes.wait()
            path = found

    def kill(self):
        self.begin()
        self.before = family(int(next(iter((self.home / "h").glob("clusters/*/*/pid"))).read_text()))
        lacking = self.row.everybody() - set(self.before)
        if lacking and self.row.stage not in ("stop", "rm"):
            raise Wrong(f"before the kill there is no {lacking}")
        self.pidfds = {role: os.pidfd_open(pid) for role, pid in self.before.items()}
        started = time.monotonic()
        victim = self.row.victim
        if victim in ("client", "owner"):
            (self.client if victim == "client" else self.owner).kill()
        elif victim in self.pidfds:
            signal.pidfd_send_signal(self.pidfds[victim], signal.SIGKILL)
        stay = self.row.survivors()
        for role, fd in self.pidfds.items():
            if (role not in stay or role == victim) and not select.select([fd], [], [], PATIENCE)[0]:
                raise Wrong(f"{role} is there after {PATIENCE} s")
        self.clean_ms = int(1000 * (time.monotonic() - started))
        return stay

    # --- Checks

    def check_client(self, stay):
        """What the command under way makes of it."""
        stage, victim = self.row.stage, self.row.victim
        if victim in ("client", "owner") and self.client is not self.owner:
            if victim == "owner":
                self.client.stdin.close()
            self.client.wait(PATIENCE)
            return
        goes_on = stage in ("stop", "rm") or bool(stay)
        if stage == "exec" and goes_on:
            self.client.stdin.write(b"still\n")
            self.read_until(self.client, "still")
        if self.client is self.owner and goes_on:
            self.read_until(self.client, "it runs")
            return
        if stage != "exec" or goes_on:
            self.client.stdin.close()
        status = self.client.wait(PATIENCE)
        if stage in HELD and victim == "helper":
            if stage == "fork" and status == 0:
                self.must("rm", "-f", "copy")
            return  # it may have been done: nobody does it twice
        # who kills all while a stop is under way has stopped the member too
        if (goes_on or self.row.once_more()) != (status == 0):
            raise Wrong(f"the command ended with {status}: {self.client.stdout.read().decode()}")

    def templates(self):
        return list((self.home / "images/.templates").glob("[!.]*"))

    def check_survivors(self, stay):
        victim = self.row.victim
        if self.row.once_more():
            self.check_use()
            return
        if self.row.stage == "template" and self.templates():
            raise Wrong(f"a template that was not finished is trusted: {self.templates()}")
        if stay and victim in SAID:
            log = self.start("logs", "--helper", "--follow", "m")
            self.read_until(log, SAID[victim])
            log.kill()
        now = family(self.before["supervisor"]) if stay else {}
        if set(now) != stay:
            raise Wrong(f"there are {set(now)} instead of {stay}")
        changed = {role for role in stay if now[role] != self.before[role]}
        if changed != (MENDED.get(victim, set()) if stay else set()):
            raise Wrong(f"not the same process as before: {changed}")
        bad = [t for t in self.audit() if not self.may_be(t, set(now.values()))]
        if bad:
            raise Wrong(f"the audit tells of {bad}")
        if stay:
            self.check_use()

    def may_be(self, thing, survivors):
        """Whether the audit may tell of @thing."""
        if thing["owner"] in survivors:
            return True
        if (self.row.stage, self.row.victim) == ("fork", "client"):  # what it captured, or half a copy, waits for prune
            return not thing["owned"] and re.match(f"{self.home}/h/(captures|clusters/copy)", thing["what"])
        # a supervisor that was killed cannot sweep: what it leaves is swept by the next command
        return self.row.victim == "supervisor" and not thing["owned"] and thing["kind"] != "process"

    def check_use(self):
        self.must("wait", "m", "--state", "running")
        self.must("exec", "m", "--", "true")
        if self.row.stage in HELD:
            for command in HELD.values():
                self.must(*command)
            self.must("exec", "copy", "--", "true")

    def audit(self):
        return json.loads(self.run("audit", "--json").stdout)

    def check_next(self):
        if self.row.lifetime == "bound" or self.row.stage == "rm" or self.row.image != "tiny":
            return
        self.must("up", "m", *self.row.options(), "--quiet")
        self.must("exec", "m", "--", "true")
        if self.row.stage in WARM and len(self.templates()) != 1:
            raise Wrong(f"templates after the next up: {self.templates()}")

    def check_disk(self):
        """After a graceful path the file system is clean."""
        disk = next(iter((self.home / "h").glob("clusters/*/m/disk.*")), None)
        if self.row.image == "tiny" or not disk:
            return
        raw = self.home / "raw"
        subprocess.run(["qemu-img", "convert", "-O", "raw", str(disk), str(raw)], check=True)
        done = subprocess.run(["e2fsck", "-fn", str(raw)], capture_output=True, text=True, check=False)
        raw.unlink()
        if done.returncode != 0:
            raise Wrong(f"e2fsck: {done.stdout}{done.stderr}")

    def clean(self):
        if self.owner and self.owner.poll() is None:
            self.owner.stdin.close()
            self.owner.wait(PATIENCE)
        self.must("prune")
        self.must("rm", "-f", "--all")

    def leaks(self):
        """Told by the audit, and, without it, by a look at the files and at every process's environment."""
        left = left_on_host() if self.row.network == "host" else []
        return left + [t["what"] for t in self.audit()] + left_of(self.home / "h")

    def end(self):
        for child in self.children:
            if child.poll() is None:
                child.kill()
                child.wait()
            child.stdin.close()
            child.stdout.close()
        shutil.rmtree(self.home, ignore_errors=True)


def run_case(case):
    """Leaks, -1 when it did not come that far; survivors; and what was wrong, or None."""
    leaks, stay = -1, set()
    try:
        stay = case.kill()
        case.check_client(stay)
        case.check_survivors(stay)
        if not stay:
            case.check_disk()
            case.check_next()
        case.clean()
        left = case.leaks()
        leaks = len(left)
        if left:
            raise Wrong(f"left: {left}")
    except (Wrong, OSError, StopIteration, subprocess.SubprocessError) as e:
        log = case.run("logs", "--helper", "m").stdout + "\nits serial log's end:\n" + case.run("logs", "m").stdout[-1500:]
        case.run("rm", "-f", "--all")
        case.run("prune")
        return leaks, stay, f"{type(e).__name__}: {e}\nthe helper's log:\n{log}"
    finally:
        case.end()
    return leaks, stay, None


def main():
    play_host()
    todo = [row for row in cases() if re.search(PATTERN, str(row))]
    print(f"1..{len(todo)}")
    rows, failed = {}, 0
    for n, row in enumerate(todo, 1):
        case = Case(row)
        leaks, stay, wrong = run_case(case)
        failed += wrong is not None
        print(f"{'not ok' if wrong else 'ok'} {n} - {row}: {'all go on' if stay else 'nobody survives'}, nothing is left",
              flush=True)
        if wrong:
            print("# " + wrong.replace("\n", "\n# "), flush=True)
        total = rows.setdefault((row.victim, row.lifetime, row.network), [0, 0, 0, 0])
        total[0] += 1
        total[1] += bool(stay)
        total[2] += max(leaks, 0)
        total[3] = max(total[3], case.clean_ms)
    print_table(("kill -9 of", "cases", "survived", "leaks", "longest to clean, ms"),
                [(", ".join(key), *figures) for key, figures in rows.items()])
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
