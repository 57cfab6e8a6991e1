#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""SIGKILL of `up`, of its helper or of both at moments spread over its whole run, over the fake backend.

usage: kill_sweep.py DROVER HELPER

A start that is left alone tells how long one takes. A helper over namespaces is asked by SIGTERM to end at such moments of its own start. After each kill: ls works; audit tells; the next up gives two members
that run; rm works; nothing is left. TAP, one line for each victim.
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

from kill_matrix import Wrong, left_of

DROVER, HELPER = (str(Path(p).resolve()) for p in sys.argv[1:3])
MOMENTS = 17  # for each of three victims
PATIENCE = 60
UP = ("up", "web", "-n", "2", "--backend", "fake", "--quiet")


class Sweep:
    def __init__(self):
        self.home = Path(tempfile.mkdtemp(prefix="drover-fault."))
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("DROVER_")}
        self.env.update(DROVER_HOME=str(self.home / "h"), DROVER_HELPER=HELPER)

    def run(self, *args, good=(0,)):
        done = subprocess.run([DROVER, *args], env=self.env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=PATIENCE, check=False)
        if done.returncode not in good:
            raise Wrong(f"{' '.join(args)}: exit {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def helpers(self):
        """pidfds of what runs of this home's helper, as far as there is one yet."""
        found = []
        mark = f"DROVER_HOME={self.home / 'h'}".encode()
        for p in Path("/proc").glob("[0-9]*"):
            try:
                pidfd = os.pidfd_open(int(p.name))
                if (p / "comm").read_text() == "drover-helper\n" and mark in (p / "environ").read_bytes().split(b"\0"):
                    found.append(pidfd)
                else:
                    os.close(pidfd)
            except OSError:
                pass
        return found

    def kill_at(self, after, victim):
        child = subprocess.Popen([DROVER, *UP], env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL)
        try:
            child.wait(after)
        except subprocess.TimeoutExpired:
            pass
        helpers = self.helpers() if victim != "up" else []
        if victim != "its helper":
            child.kill()
        for pidfd in helpers:
            try:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            except ProcessLookupError:
                pass
            os.close(pidfd)
        child.wait(PATIENCE)

    def check(self):
        self.run("ls")
        json.loads(self.run("audit", "--json", good=(0, 1)))
        self.run(*UP)
        states = [m["state"] for m in json.loads(self.run("ls", "-o", "json"))]
        if states != ["running", "running"]:
            raise Wrong(f"after the next up the members are {states}")
        self.run("rm", "-f", "web")
        for pidfd in self.helpers():  # rm ends with the last member; its helper is about to
            gone = select.select([pidfd], [], [], PATIENCE)[0]
            os.close(pidfd)
            if not gone:
                raise Wrong("a helper does not end")
        self.check_nothing()

    def start_helper(self):
        """One on namespaces and without a VM, and the pipe that it tells on."""
        mine, its = os.pipe()
        child = subprocess.Popen([HELPER, "--members", "term", "--ready-fd", str(its)], env=self.env, pass_fds=(its,),
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
        left = [t["what"] for t in json.loads(self.run("audit", "--json"))] + left_of(self.home / "h")
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

    def time_of_one(self):
        started = time.monotonic()
        self.run(*UP)
        took = time.monotonic() - started
        self.run("rm", "-f", "web")
        return took


def sweep_terms(sweep, n):
    claim = f"SIGTERM of a helper at {MOMENTS} moments of its start: it ends in order, nothing is left"
    if subprocess.run([HELPER, "--check"], env=sweep.env, capture_output=True, check=False).returncode != 0:
        print(f"ok {n} - {claim} # SKIP this host cannot run one")
        return True
    after = took = 0
    try:
        took = sweep.time_of_helper()
        for i in range(MOMENTS):
            after = took * i / (MOMENTS - 4)  # some after it was ready, too
            sweep.term_at(after)
    except (Wrong, subprocess.TimeoutExpired) as e:
        print(f"not ok {n} - {claim}\n# {1000 * after:.1f} of {1000 * took:.1f} ms: {e}", flush=True)
        return False
    print(f"ok {n} - {claim}", flush=True)
    return True


def main():
    victims = ("up", "its helper", "up and its helper")
    sweep, failed = Sweep(), 0
    print(f"1..{len(victims) + 1}")
    for n, victim in enumerate(victims, 1):
        wrong = None
        took = sweep.time_of_one()
        for i in range(MOMENTS):
            after = took * i / (MOMENTS - 1)
            try:
                sweep.kill_at(after, victim)
                sweep.check()
            except (Wrong, subprocess.TimeoutExpired) as e:
                wrong = f"{1000 * after:.1f} of {1000 * took:.1f} ms: {e}"
                break
        failed += wrong is not None
        print(f"{'not ok' if wrong else 'ok'} {n} - kill -9 of {victim} at {MOMENTS} moments of a start: ls, audit, up and rm "
              "work, nothing is left", flush=True)
        if wrong:
            print("# " + wrong.replace("\n", "\n# "), flush=True)
    failed += not sweep_terms(sweep, len(victims) + 1)
    shutil.rmtree(sweep.home, ignore_errors=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
