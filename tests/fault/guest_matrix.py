#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The kill matrix with real guests: SIGKILL of every process of a cluster at each stage of its life, bound and detached.

usage: guest_matrix.py DROVER HELPER [PATTERN]     (PATTERN: only cases whose name has it, a regular expression)

After each kill: exactly the survivors run, and are the same processes as before but for the one that was started again;
the audit lists theirs and nothing else; what goes on is reached over SSH; where all is gone the next up works; at the end
nothing is left. Stages are told by events: a line of the command, an event of a watch, the echo of a session. Guests are
of the image tiny; two cases stop debian-12 and check its file system. TAP; the table is in the comments at the end.
"""
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

from kill_matrix import Wrong, left_of

DROVER, HELPER = (str(Path(p).resolve()) for p in sys.argv[1:3])
PATTERN = sys.argv[3] if len(sys.argv) > 3 else ""
PATIENCE = 120  # seconds that any single event may take: guests boot without KVM
CACHE = os.environ.get("DROVER_IMAGE_CACHE",
                       os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache")) + "/drover/images")

# A role by the name that the kernel has for the process (15 characters).
ROLES = {"drover-init": "init", "drover-helper": "helper", "drover-egress": "launcher", "qemu-system-x86": "qemu",
         "dnsmasq": "dnsmasq", "slirp4netns": "slirp4netns"}
EVERYBODY = {"supervisor", "init", "helper", "launcher", "qemu", "dnsmasq", "slirp4netns"}
MENDED = {"helper", "dnsmasq", "slirp4netns"}  # killed alone, another takes its place
WAY_OUT = {"launcher", "slirp4netns"}
SAID = {"dnsmasq": "dnsmasq was started again", "slirp4netns": "slirp4netns was started again",
        "launcher": "no way out any more", "helper": "took over 1 members"}

STAGES = ("boot", "exec", "stop", "rm")
VICTIMS = {"detached": ("client", "supervisor", "init", "helper", "qemu", "dnsmasq", "slirp4netns", "launcher"),
           "bound": ("client", "owner", "supervisor", "init", "helper", "qemu", "dnsmasq", "slirp4netns", "launcher")}


def survivors(lifetime, stage, victim):
    """Who runs when all has settled: everybody, or some, or nobody."""
    if stage in ("stop", "rm") or victim in ("owner", "supervisor", "init", "qemu"):
        return set()
    if victim == "client":  # of a bound cluster's boot it is the owner
        return set() if (lifetime, stage) == ("bound", "boot") else EVERYBODY
    if victim == "helper":
        return EVERYBODY if lifetime == "detached" else set()
    return EVERYBODY - WAY_OUT if victim == "launcher" else EVERYBODY


def cases():
    for lifetime in ("detached", "bound"):
        for stage in STAGES:
            for victim in VICTIMS[lifetime]:
                if (lifetime, stage, victim) != ("bound", "boot", "owner"):  # the client is
                    yield lifetime, stage, victim, "tiny"
    yield "detached", "stop", "helper", "debian-12"
    yield "detached", "stop", "client", "debian-12"


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


def name_of(lifetime, stage, victim, image):
    return f"{lifetime}, {stage}, kill -9 of {victim}, {image}"


class Case:
    def __init__(self, lifetime, stage, victim, image):
        self.lifetime, self.stage, self.victim, self.image = lifetime, stage, victim, image
        self.home = Path(tempfile.mkdtemp(prefix="drover-fault."))
        self.children = []
        self.client = self.owner = None
        self.clean_ms = 0

    def name(self):
        return name_of(self.lifetime, self.stage, self.victim, self.image)

    # --- Programs

    def env(self):
        env = {k: v for k, v in os.environ.items() if not k.startswith("DROVER_")}
        return {**env, "DROVER_HOME": str(self.home / "h"), "DROVER_HELPER": HELPER, "DROVER_IMAGE_CACHE": CACHE}

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
        options = ["--image", self.image]
        if self.lifetime == "detached":
            first = self.start("up", "m", *options)
        else:
            first = self.owner = self.start("run", "m", *options, "--", "sh", "-c", "echo it runs; exec cat")
        if self.stage == "boot":
            self.client = first
            self.read_until(first, "stage=start")
            self.await_event(self.watch(), {"event": "stage", "stage": "booting"})
            return
        if self.lifetime == "bound":
            self.read_until(first, "it runs")
        elif first.wait(PATIENCE) != 0:
            raise Wrong(f"up: {first.stdout.read().decode()}")
        if self.stage == "exec":
            self.client = self.start("exec", "m", "--", "sh", "-c", "echo here; exec cat")
            self.read_until(self.client, "here")
            return
        lines = self.watch()
        self.client = self.start(*(["down"] if self.stage == "stop" else ["rm", "-f"]), "m")
        self.await_event(lines, {"event": "state", "state": "stopping"})

    def kill(self):
        self.begin()
        self.before = family(int(next(iter((self.home / "h").glob("clusters/*/m/pid"))).read_text()))
        lacking = EVERYBODY - set(self.before)
        if lacking and self.stage != "stop" and self.stage != "rm":
            raise Wrong(f"before the kill there is no {lacking}")
        self.pidfds = {role: os.pidfd_open(pid) for role, pid in self.before.items()}
        started = time.monotonic()
        if self.victim in ("client", "owner"):
            (self.client if self.victim == "client" else self.owner).kill()
        elif self.victim in self.pidfds:
            signal.pidfd_send_signal(self.pidfds[self.victim], signal.SIGKILL)
        stay = survivors(self.lifetime, self.stage, self.victim)
        for role, fd in self.pidfds.items():
            if (role not in stay or role == self.victim) and not select.select([fd], [], [], PATIENCE)[0]:
                raise Wrong(f"{role} is there after {PATIENCE} s")
        self.clean_ms = int(1000 * (time.monotonic() - started))
        return stay

    # --- Checks

    def check_client(self, stay):
        """What the command under way makes of it."""
        if self.victim in ("client", "owner") and self.client is not self.owner:
            if self.victim == "owner":
                self.client.stdin.close()
            self.client.wait(PATIENCE)
            return
        goes_on = self.stage in ("stop", "rm") or bool(stay)
        if self.stage == "exec" and goes_on:
            self.client.stdin.write(b"still\n")
            self.read_until(self.client, "still")
        if self.client is self.owner and goes_on:
            self.read_until(self.client, "it runs")
        else:
            if not (self.stage == "exec" and not goes_on):
                self.client.stdin.close()
            status = self.client.wait(PATIENCE)
            # who kills all while a stop is under way has stopped the member too
            if goes_on and status != 0 or not goes_on and status == 0:
                raise Wrong(f"the command ended with {status}: {self.client.stdout.read().decode()}")

    def check_survivors(self, stay):
        if stay and self.victim in SAID:
            log = self.start("logs", "--helper", "--follow", "m")
            self.read_until(log, SAID[self.victim])
            log.kill()
        now = family(self.before["supervisor"]) if stay else {}
        if set(now) != stay:
            raise Wrong(f"there are {set(now)} instead of {stay}")
        changed = {role for role in stay if now[role] != self.before[role]}
        if changed != ({self.victim} & MENDED if stay else set()):
            raise Wrong(f"not the same process as before: {changed}")
        things = self.audit()
        if stay:
            bad = [t for t in things if t["owner"] not in now.values()]
        else:
            # a supervisor that was killed cannot sweep: its files are swept by the next command
            bad = [t for t in things if self.victim != "supervisor" or t["owned"] or t["kind"] == "process"]
        if bad:
            raise Wrong(f"the audit tells of {bad}")
        if stay:
            self.must("wait", "m", "--state", "running")
            self.must("exec", "m", "--", "true")

    def audit(self):
        return json.loads(self.run("audit", "--json").stdout)

    def check_next(self):
        if self.lifetime == "bound" or self.stage == "rm" or self.image != "tiny":
            return
        self.must("up", "m", "--image", self.image, "--quiet")
        self.must("exec", "m", "--", "true")

    def check_disk(self):
        """After a graceful path the file system is clean."""
        disk = next(iter((self.home / "h").glob("clusters/*/m/disk.*")), None)
        if self.image == "tiny" or not disk:
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
        return [t["what"] for t in self.audit()] + left_of(self.home / "h")

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
    todo = [row for row in cases() if re.search(PATTERN, name_of(*row))]
    print(f"1..{len(todo)}")
    rows, failed = {}, 0
    for n, row in enumerate(todo, 1):
        case = Case(*row)
        leaks, stay, wrong = run_case(case)
        failed += wrong is not None
        what = "all go on" if stay == EVERYBODY else "the rest goes on" if stay else "nobody survives"
        print(f"{'not ok' if wrong else 'ok'} {n} - {case.name()}: {what}, nothing is left", flush=True)
        if wrong:
            print("# " + wrong.replace("\n", "\n# "), flush=True)
        total = rows.setdefault((case.lifetime, case.victim), [0, 0, 0, 0])
        total[0] += 1
        total[1] += bool(stay)
        total[2] += max(leaks, 0)
        total[3] = max(total[3], case.clean_ms)
    print("# lifetime  victim       cases  survived  leaks  longest to what is to go gone")
    for (lifetime, victim), (count, alive, leaks, longest) in rows.items():
        print(f"# {lifetime:8}  {victim:11}  {count:5}  {alive:8}  {leaks:5}  {longest:8} ms")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
