#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The kill matrix over the fake backend: SIGKILL of client or helper at each stage, bound and detached.

usage: kill_matrix.py DROVER HELPER

After each kill: the audit lists exactly the survivors, prune and rm leave nothing, the next up works. A stage is told
by an event: a line that the fake backend writes into a pipe, a line of the command, the echo of a dialed connection.
TAP; the table is in the comments at the end.
"""
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

DROVER, HELPER = (str(Path(p).resolve()) for p in sys.argv[1:3])
PATIENCE = 60  # seconds that any single event may take
NEVER = "3600000"  # ms

# lifetime, stage, victim, what survives: the helper, or nobody
CASES = [
    ("detached", "up: reserve", "client", "nobody"),
    ("detached", "up: reserve", "helper", "nobody"),
    ("detached", "up: boot", "client", "helper"),
    ("detached", "up: boot", "helper", "nobody"),
    ("detached", "running", "helper", "nobody"),
    ("detached", "dial", "client", "helper"),
    ("detached", "dial", "helper", "nobody"),
    ("detached", "down: stop", "client", "nobody"),
    ("detached", "down: stop", "helper", "nobody"),
    ("detached", "rm: stop", "client", "nobody"),
    ("detached", "rm: stop", "helper", "nobody"),
    ("bound", "up: reserve", "owner", "nobody"),
    ("bound", "up: reserve", "helper", "nobody"),
    ("bound", "up: boot", "owner", "nobody"),
    ("bound", "up: boot", "helper", "nobody"),
    ("bound", "running", "owner", "nobody"),
    ("bound", "running", "helper", "nobody"),
    ("bound", "dial", "client", "helper"),
    ("bound", "dial", "owner", "nobody"),
    ("bound", "dial", "helper", "nobody"),
    ("bound", "down: stop", "client", "nobody"),
    ("bound", "down: stop", "owner", "nobody"),
    ("bound", "down: stop", "helper", "nobody"),
    ("bound", "rm: stop", "client", "nobody"),
    ("bound", "rm: stop", "owner", "nobody"),
    ("bound", "rm: stop", "helper", "nobody"),
]


def left_of(home):
    """What is left of a home, told without the audit: files of its clusters, processes with it in their environment."""
    left = []
    for folder in ("run", "clusters"):
        left += [str(p) for p in (home / folder).rglob("*")]
    mark = f"DROVER_HOME={home}".encode()
    for p in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in p.read_bytes().split(b"\0"):
                left.append(str(p))
        except OSError:
            pass
    return left


class Wrong(Exception):
    """What should have happened and did not."""


class TooLate(Exception):
    """The stage was over when the kill came, since the machine is busy: there is nothing to judge."""


class Home:
    """A directory of its own for one store, in which nothing of the caller's settings holds."""

    def __init__(self):
        self.scratch = Path(tempfile.mkdtemp(prefix="drover-fault."))
        self.store = self.scratch / "h"

    def env(self, **more):
        env = {k: v for k, v in os.environ.items() if not k.startswith("DROVER_")}
        return {**env, "DROVER_HOME": str(self.store), "DROVER_HELPER": HELPER, **more}

    def run(self, *args):
        return subprocess.run([DROVER, *args], env=self.env(), stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=4 * PATIENCE, check=False)

    def remove(self):
        shutil.rmtree(self.scratch, ignore_errors=True)


def tell(n, claim, wrong):
    """One line of TAP, and what was wrong, which is None when it holds."""
    print(f"{'not ok' if wrong else 'ok'} {n} - {claim}", flush=True)
    if wrong:
        print("# " + wrong.replace("\n", "\n# "), flush=True)


def print_table(head, rows):
    """Comments of TAP, which tools/tally hands on to whoever runs all tests."""
    widths = [max(len(str(row[i])) for row in (head, *rows)) for i in range(len(head))]
    for row in (head, *rows):
        print("#| " + str(row[0]).ljust(widths[0]) + "".join("  " + str(v).rjust(w) for v, w in zip(row[1:], widths[1:])))


def read_line(fd, what):
    """One line from @fd, byte by byte so that nothing of the next is taken."""
    line = b""
    end = time.monotonic() + PATIENCE
    while not line.endswith(b"\n"):
        if not select.select([fd], [], [], max(0, end - time.monotonic()))[0]:
            raise Wrong(f"no {what} within {PATIENCE} s")
        data = os.read(fd, 1)
        if not data:
            raise Wrong(f"end of file instead of {what}")
        line += data
    return line.decode()


class Case(Home):
    def __init__(self, lifetime, stage, victim, survivor):
        super().__init__()
        self.lifetime, self.stage, self.victim, self.survivor = lifetime, stage, victim, survivor
        self.events_path = self.scratch / "events"
        os.mkfifo(self.events_path)
        # for both directions: opening waits for nobody, and the pipe outlives its writers
        self.events = os.open(self.events_path, os.O_RDWR | os.O_CLOEXEC)
        self.children = []
        self.clean_ms = 0

    def start(self, *args, **more):
        child = subprocess.Popen([DROVER, *args], env=self.env(**more), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                 stderr=subprocess.DEVNULL)
        self.children.append(child)
        return child

    def await_event(self, op):
        while json.loads(read_line(self.events, f"event {op}"))["op"] != op:
            pass

    def begin(self):
        """Starts the cluster. Returns the process that does so."""
        boots = self.stage in ("up: reserve", "up: boot")
        # A stop ends in time when nobody but its client is killed; it must not end before the helper is, or the owner.
        more = {"DROVER_FAKE_RECORD": str(self.events_path), "DROVER_FAKE_BOOT_MS": NEVER if boots else "0",
                "DROVER_FAKE_STOP_MS": "300" if self.victim == "client" else NEVER}
        options = ["-n", "2", "--backend", "fake", "--quiet"]
        if self.lifetime == "detached":
            first = self.start("up", "web", *options, **more)
        else:
            first = self.start("run", *options, "--", "sh", "-c", "echo running; exec cat", **more)
        if boots:
            self.await_event("reserve" if self.stage == "up: reserve" else "create")
        elif self.lifetime == "bound":
            read_line(first.stdout.fileno(), "line of the command")
        elif first.wait(PATIENCE) != 0:
            raise Wrong("up failed")
        return first

    def act(self, names):
        """The client that is under way when the kill comes, or None."""
        if self.stage == "dial":
            client = self.start("dial", names[0], "22")
            client.stdin.write(b"echo\n")
            client.stdin.flush()
            read_line(client.stdout.fileno(), "echo")
            return client
        if self.stage in ("down: stop", "rm: stop"):
            client = self.start(*(["down"] if self.stage == "down: stop" else ["rm", "-f"]), *names)
            self.await_event("stop")
            self.await_event("stop")  # both members': the helper has no reason to stay
            return client
        return None

    def helper(self):
        pids = {p.read_text() for p in self.store.glob("clusters/*/*/pid")}
        if len(pids) != 1:
            raise Wrong(f"pidfiles name {pids or 'nobody'}")
        return int(pids.pop())

    def audit(self):
        done = self.run("audit", "--json")
        return json.loads(done.stdout), done.returncode

    def kill(self):
        first = self.begin()
        helper = self.helper()
        pidfd = os.pidfd_open(helper)
        names = sorted(p.parent.name for p in self.store.glob("clusters/*/*/pid"))
        client = self.act(names)
        if self.victim == "helper":
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        else:
            (first if self.victim == "owner" or client is None else client).kill()
        if self.survivor == "nobody":
            self.await_end_of(pidfd)
        os.close(pidfd)
        for child in self.children:
            if child is first and self.survivor == "helper" and self.lifetime == "bound":
                continue
            child.stdin.close()
            child.wait(PATIENCE)
        return helper

    def await_end_of(self, pidfd):
        """The helper's. One that was asked to boot before its client died goes on with that, when it is detached."""
        may_go_on = self.lifetime == "detached" and self.stage == "up: reserve" and self.victim == "client"
        end = time.monotonic() + PATIENCE
        while True:
            ready = select.select([pidfd] + [self.events] * may_go_on, [], [], max(0, end - time.monotonic()))[0]
            if pidfd in ready:
                return
            if not ready:
                raise Wrong(f"the helper is there after {PATIENCE} s")
            if json.loads(read_line(self.events, "event"))["op"] == "create":
                raise TooLate

    def check_survivors(self, helper):
        things, status = self.audit()
        alive = [t["owner"] for t in things if t["kind"] == "process" and t["owned"]]
        if alive != ([helper] if self.survivor == "helper" else []):
            raise Wrong(f"survivors {alive} instead of {self.survivor} ({helper}): {things}")
        unowned = [t for t in things if not t["owned"]]
        if unowned and self.victim != "helper":
            raise Wrong(f"nobody's, though the helper could end in order: {unowned}")
        if status != (1 if unowned else 0):
            raise Wrong(f"audit ends with {status}: {things}")

    def clean(self):
        started = time.monotonic()
        done = [self.run("prune"), self.run("rm", "-f", "--all")]
        for child in self.children:
            if child.poll() is None:
                child.stdin.close()
                child.wait(PATIENCE)
        self.clean_ms = int(1000 * (time.monotonic() - started))
        for result in done:
            if result.returncode != 0:
                raise Wrong(f"{result.args[1]}: {result.stdout}{result.stderr}")

    def leaks(self):
        """Told by the audit, and, without it, by a look at the files and at every process's environment."""
        return [t["what"] for t in self.audit()[0]] + left_of(self.store)

    def check_next(self):
        for args in (["up", "web", "-n", "2", "--backend", "fake", "--quiet"], ["rm", "-f", "web"]):
            done = self.run(*args)
            if done.returncode != 0:
                raise Wrong(f"the next {args[0]}: {done.stdout}{done.stderr}")

    def end(self):
        for child in self.children:
            if child.poll() is None:
                child.kill()
            child.wait()
            child.stdin.close()
            child.stdout.close()
        os.close(self.events)
        self.remove()


def run_case(case):
    """Leaks, -1 when it did not come that far; and what was wrong, or None."""
    leaks = -1
    try:
        case.check_survivors(case.kill())
        case.clean()
        left = case.leaks()
        leaks = len(left)
        if left:
            raise Wrong(f"left: {left}")
        case.check_next()
        if case.leaks():
            raise Wrong(f"left after the next up and rm: {case.leaks()}")
    except TooLate:
        case.run("rm", "-f", "--all")
        raise
    except (Wrong, subprocess.TimeoutExpired) as e:
        case.run("rm", "-f", "--all")
        case.run("prune")
        return leaks, str(e)
    finally:
        case.end()
    return leaks, None


def main():
    print(f"1..{len(CASES)}")
    rows, failed = {}, 0
    for n, row in enumerate(CASES, 1):
        while True:
            case = Case(*row)
            try:
                leaks, wrong = run_case(case)
                break
            except TooLate:
                print(f"# {row}: too late, again", flush=True)
        failed += wrong is not None
        tell(n, f"{case.lifetime}, {case.stage}, kill -9 of the {case.victim}: {case.survivor} survives, nothing is left",
             wrong)
        total = rows.setdefault((case.lifetime, case.victim), [0, 0, 0, 0])
        total[0] += 1
        total[1] += case.survivor == "helper"
        total[2] += max(leaks, 0)
        total[3] = max(total[3], case.clean_ms)
    print_table(("kill -9 of", "cases", "survived", "leaks", "longest to clean, ms"),
                [(f"{victim}, {lifetime}", *figures) for (lifetime, victim), figures in rows.items()])
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
