#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Replays transcripts against the real helper on the fake backend: whole, byte by byte, at random splits.

usage: run.py TRANSCRIPT...      environment: DROVER_HELPER, DROVER_MAC_SALT, SEED (optional)

  # TITLE            a new case: a fresh helper; its one member is "solo" unless said otherwise
  $ members A,B      before the first request; also: $ env KEY=VALUE   $ bound
  >> NAME [SUFFIX]   the socket of the next connections (default: the first member's .sock)
  > TEXT             a new connection, TEXT and a newline are sent
  >raw TEXT          a new connection, TEXT with \\xNN and \\n escapes, no newline added
  + TEXT   +raw TEXT the same on the connection that is open
  < LINE             the next line of the reply, exact; <pid> and <mac NAME> are filled in,
                     <number> stands for any in "held_ms" and "saved_at"
  <raw TEXT          exactly these bytes
  = closed           the helper closes, and sent nothing more
  = open             it has not closed and nothing waits to be read
  = hangup           the client closes
  = gone NAME        the member's socket goes
  = file NAME FILE TEXT   the member's file holds exactly TEXT
  = exit             the helper leaves by itself, with success
"""
import os
import random
import re
import sys

import harness

SALT = os.environ.get("DROVER_MAC_SALT", "drover:")
SEED = int(os.environ.get("SEED", "20240229"))


def whole(data):
    return [data]


def bytewise(data):
    return [data[i:i + 1] for i in range(len(data))]


def splits(data):
    cuts = sorted(splits.random.sample(range(1, len(data)), min(len(data) - 1, splits.random.randint(1, 5))))
    return [data[a:b] for a, b in zip([0] + cuts, cuts + [len(data)])]


splits.random = random.Random(SEED)


def unescape(text):
    return text.encode().decode("unicode_escape").encode("latin-1")


class Case:
    def __init__(self, title):
        self.title = title
        self.members = ["solo"]
        self.env = {}
        self.bound = None
        self.steps = []

    def setting(self, text):
        key, _, value = text.partition(" ")
        if key == "members":
            self.members = value.split(",")
        elif key == "env":
            name, _, value = value.partition("=")
            self.env[name] = value
        elif key == "bound":
            self.bound = os.getpid()
        else:
            raise ValueError(f"unknown setting {text}")

    def run(self, chunks):
        with harness.Helper(*self.members, bound=self.bound, env=self.env) as helper:
            harness.expect("ready", "ready\n", helper.ready)
            replay = Replay(helper, chunks)
            for number, mark, text in self.steps:
                try:
                    replay.step(mark, text)
                except AssertionError as why:
                    raise AssertionError(f"line {number}: {mark} {text}: {why}") from None
            replay.hangup()


class Replay:
    def __init__(self, helper, chunks):
        self.helper = helper
        self.chunks = chunks
        self.where = (helper.members[0], "sock")
        self.conn = None

    def hangup(self):
        if self.conn:
            self.conn.close()
        self.conn = None

    def send(self, data):
        for chunk in self.chunks(data):
            if not self.conn.send(chunk):
                break

    def fill(self, text):
        text = text.replace("<pid>", str(self.helper.pid))
        return re.sub(r"<mac ([^>]*)>", lambda m: harness.mac_of(SALT, m.group(1)), text)

    def step(self, mark, text):
        if mark == ">>":
            name, _, suffix = text.partition(" ")
            self.where = (name, suffix or "sock")
        elif mark in (">", ">raw", "+", "+raw"):
            if mark[0] == ">":
                self.hangup()
                self.conn = self.helper.connect(*self.where)
            self.send(unescape(text) if mark.endswith("raw") else text.encode() + b"\n")
        elif mark == "<":
            line = self.conn.line()
            if "<number>" in text:
                line = re.sub(rb'("(held_ms|saved_at)":)\d+', rb"\1<number>", line)
            harness.expect("reply", self.fill(text).encode() + b"\n", line)
        elif mark == "<raw":
            want = unescape(text)
            harness.expect("reply", want, self.conn.bytes(len(want)))
        else:
            self.check(*text.split(" ", 1))

    def check(self, what, text=""):
        if what == "closed":
            harness.expect("the connection is closed", True, self.conn.closed())
        elif what == "open":
            harness.expect("the connection is open and silent", True, self.conn.silent())
        elif what == "hangup":
            self.hangup()
        elif what == "gone":
            self.helper.wait_socket_gone(text)
        elif what == "exit":
            self.helper.wait_exit()
        elif what == "file":
            name, file, want = text.split(" ", 2)
            with open(self.helper.member_path(name, file), encoding="utf-8") as f:
                harness.expect(file, self.fill(want), f.read())
        else:
            raise ValueError(f"unknown check {what}")


def load(path):
    cases = []
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            mark, _, text = line.rstrip("\n").partition(" ")
            if mark == "#" and not text.startswith("SPDX"):
                cases.append(Case(text))
            elif mark == "$":
                cases[-1].setting(text)
            elif mark and mark != "#":
                cases[-1].steps.append((number, mark, text))
    return cases


def main():
    print(f"# seed {SEED}")
    tests = []
    for path in sys.argv[1:]:
        for case in load(path):
            for mode in (whole, bytewise, splits):
                tests.append((f"{case.title} [{mode.__name__}]", lambda c=case, m=mode: c.run(m)))
    harness.main(tests)


main()
