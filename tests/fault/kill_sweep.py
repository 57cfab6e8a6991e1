#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Commands that are ended at moments spread over their whole run, over the fake backend.

usage: kill_sweep.py DROVER HELPER

SIGKILL of `up`, of its helper or of both; SIGINT and SIGTERM, in turn, of what makes, changes or ends members. A helper over
namespaces is asked by SIGTERM to end at such moments of its own start. A run that is left alone tells how long one takes.
After each: ls works; audit tells; prune removes what is no member; the next up gives two members that run; rm works; nothing is left. An interrupted `up` or
`run` moreover takes back what it made, and no other. TAP, one line for each victim.
"""
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

from kill_matrix import DROVER, HELPER, PATIENCE, Home, Wrong, left_of, tell

MOMENTS = 17  # for each victim of a kill
FEWER = 9  # for each command that is interrupted
UP = ("up", "web", "-n", "2", "--backend", "fake", "--quiet")
SAVE = ("snapshot", "save", "web", "point")
BOTH = {"web-1": "running", "web-2": "running"}

VICTIMS = ("up", "its helper", "up and its helper")
# command, what is done before, the members when it was interrupted in order; None: those who were, in any state but error
INTERRUPTED = [
    (UP, (), {}),
    (("run", "-n", "2", "--backend", "fake", "--quiet", "--", "true"), (), {}),
    (("up", "web-3", "web-4", "--quiet"), (UP,), BOTH),
    (("rm", "-f", "web"), (UP,), None),
    (("down", "web"), (UP,), None),
    (SAVE, (UP,), None),
    (("reset", "web"), (UP, SAVE), None),
]


class Sweep(Home):
    def do(self, *args, good=(0,)):
        done = self.run(*args)
        if done.returncode not in good:
            raise Wrong(f"{' '.join(args)}: exit {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def states(self):
        return {m["name"]: m["state"] for m in json.loads(self.do("ls", "-o", "json"))}

    def helpers(self, client=0):
        """pidfds of what runs of this home's helper, as far as there is one yet; also of a child of the @client that is about to
        be one, and may be after the client was killed."""
        found = []
        mark = f"DROVER_HOME={self.store}".encode()
        for p in Path("/proc").glob("[0-9]*"):
            try:
                pidfd = os.pidfd_open(int(p.name))
            except OSError:
                continue
            try:
                ours = (int(p.name) != client and (p / "comm").read_text() in ("drover-helper\n", "drover\n") and
                        mark in (p / "environ").read_bytes().split(b"\0"))
            except OSError:
                ours = False
            if ours:
                found.append(pidfd)
            else:
                os.close(pidfd)
        return found

    def await_helpers(self):
        """Sooner than one would leave by itself, because nobody wants anything of it."""
        for pidfd in self.helpers():
            gone = select.select([pidfd], [], [], PATIENCE)[0]
            os.close(pidfd)
            if not gone:
                raise Wrong("a helper does not end")

    def left(self):
        return [t["what"] for t in json.loads(self.do("audit", "--json"))] + left_of(self.store)

    def start(self, command, after):
        """The command as it runs after @after seconds; it may have ended."""
        child = subprocess.Popen([DROVER, *command], env=self.env(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL)
        try:
            child.wait(after)
        except subprocess.TimeoutExpired:
            pass
        return child

    def kill_at(self, after, victim):
        child = self.start(UP, after)
        if victim != "its helper":
            child.kill()
            child.wait(PATIENCE)  # before helpers are looked for: it might start one, and boot members, meanwhile
        for pidfd in self.helpers(child.pid) if victim != "up" else []:
            try:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            except ProcessLookupError:
                pass
            os.close(pidfd)
        child.wait(PATIENCE)
        self.do("ls")
        told = {thing["what"] for thing in json.loads(self.do("audit", "--json", good=(0, 1)))}
        if victim == VICTIMS[2]:  # else one of the two goes on with the members
            self.await_helpers()
            self.check_strays(told)

    def strays(self):
        """Directories of members that there are not, which no `ls` tells of."""
        return {str(d) for d in (self.store / "clusters").glob("*/*") if not (d / "config.json").exists()}

    def check_strays(self, told):
        if not self.strays() <= told:
            raise Wrong(f"the audit does not tell of {self.strays() - told}")
        self.do("prune")
        empty = [str(d) for d in (self.store / "clusters").iterdir() if not any(d.iterdir())]
        if self.strays() or empty:
            raise Wrong(f"after prune there is {self.strays()} {empty}")

    def interrupt_at(self, after, command, before, want, sig):
        for args in before:
            self.do(*args)
        child = self.start(command, after)
        child.send_signal(sig)
        status = child.wait(PATIENCE)
        if status not in (0, -sig, 128 + sig):
            raise Wrong(f"{sig.name}: exit {status}")
        states = self.states()
        if want is None:
            if not states.keys() <= BOTH.keys() or "error" in states.values():
                raise Wrong(f"{sig.name}: exit {status}, and the members are {states}")
        elif status != 0 and states != want:
            raise Wrong(f"{sig.name}: exit {status}, and the members are {states} instead of {want}")
        if status != 0 and want == {}:
            self.await_helpers()
            if self.left():
                raise Wrong(f"{sig.name}: left: {self.left()}")
        for name in [name for name, state in states.items() if state == "paused"]:
            self.do("resume", name)

    def check(self):
        self.do(*UP)
        states = self.states()
        if {name: states.get(name) for name in BOTH} != BOTH:
            raise Wrong(f"after the next up the members are {states}")
        self.do("rm", "-f", "web")
        self.await_helpers()  # rm ends with the last member; its helper is about to
        self.check_nothing()

    def start_helper(self):
        """One on namespaces and without a VM, and the pipe that it tells on."""
        mine, its = os.pipe()
        child = subprocess.Popen([HELPER, "--members", "term", "--ready-fd", str(its)], env=self.env(), pass_fds=(its,),
                                 stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                 start_new_session=True)
        os.close(its)
        return child, mine

    def term_at(self, after):
        child, mine = self.start_helper()
        try:
            child.wait(after)
        except subprocess.TimeoutExpired:
            pass
        child.terminate()
        status = child.wait(PATIENCE)
        os.close(mine)
        if status not in (0, 128 + signal.SIGTERM, -signal.SIGTERM):
            raise Wrong(f"the helper ended with {status}")
        self.check_nothing()

    def check_nothing(self):
        left = self.left()
        if left:
            raise Wrong(f"left: {left}")

    def time_of_helper(self):
        started = time.monotonic()
        child, mine = self.start_helper()
        said = os.read(mine, 512)
        took = time.monotonic() - started
        os.close(mine)
        child.terminate()
        if not said.startswith(b"ready") or child.wait(PATIENCE) != 0:
            raise Wrong(f"the helper said {said}")
        return took

    def time_of_one(self, command, before):
        for args in before:
            self.do(*args)
        started = time.monotonic()
        self.do(*command)
        took = time.monotonic() - started
        self.do("rm", "-f", "--all")
        return took

    def sweep(self, took, moments, at):
        """What was wrong, or None; @at ends what is under way after so many seconds, its moment being the second argument."""
        for i in range(moments):
            after = took * i / (moments - 1)
            try:
                at(after, i)
                self.check()
            except (Wrong, subprocess.TimeoutExpired) as e:
                return f"{1000 * after:.1f} of {1000 * took:.1f} ms: {e}"
        return None


def sweep_terms(sweep, n):
    claim = f"SIGTERM of a helper at {MOMENTS} moments of its start: it ends in order, nothing is left"
    if subprocess.run([HELPER, "--check"], env=sweep.env(), capture_output=True, check=False).returncode != 0:
        print(f"ok {n} - {claim} # SKIP this host cannot run one")
        return True
    after, took, wrong = 0, 0, None
    try:
        took = sweep.time_of_helper()
        for i in range(MOMENTS):
            after = took * i / (MOMENTS - 4)  # some after it was ready, too
            sweep.term_at(after)
    except (Wrong, subprocess.TimeoutExpired) as e:
        wrong = f"{1000 * after:.1f} of {1000 * took:.1f} ms: {e}"
    tell(n, claim, wrong)
    return wrong is None


def main():
    sweep, failed = Sweep(), 0
    print(f"1..{len(VICTIMS) + len(INTERRUPTED) + 1}")
    for n, victim in enumerate(VICTIMS, 1):
        wrong = sweep.sweep(sweep.time_of_one(UP, ()), MOMENTS, lambda after, i, v=victim: sweep.kill_at(after, v))
        failed += wrong is not None
        tell(n, f"kill -9 of {victim} at {MOMENTS} moments of a start: ls, audit, up and rm work, nothing is left", wrong)
    for n, row in enumerate(INTERRUPTED, len(VICTIMS) + 1):
        command, before, _ = row
        wrong = sweep.sweep(sweep.time_of_one(command, before), FEWER, lambda after, i, r=row: sweep.interrupt_at(
            after, *r, (signal.SIGINT, signal.SIGTERM)[i % 2]))
        failed += wrong is not None
        tell(n, f"{'joining, ' if command[1] == 'web-3' else ''}{' '.join(command)}: interrupted at {FEWER} moments: "
             "what it made is taken back, up and rm work, nothing is left", wrong)
    failed += not sweep_terms(sweep, len(VICTIMS) + len(INTERRUPTED) + 1)
    sweep.remove()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
