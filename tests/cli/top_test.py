#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""drover top in a terminal of its own, over the fake backend: what it draws, what ends it, and that the terminal is as it
was.   top_test.py path/to/drover"""
import fcntl
import os
import pathlib
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time

drover = os.path.realpath(sys.argv[1])
home = tempfile.mkdtemp(prefix="drover-top-")
env = dict(os.environ, DROVER_HOME=home + "/home", TERM="xterm")
count = failures = 0
DEADLINE = 60
LEAVE = b"\x1b[?25h\x1b[?1049l"


def ok(claim, held, shown=""):
    global count, failures
    count += 1
    failures += not held
    print(f"{'ok' if held else 'not ok'} {count} - {claim}", flush=True)
    if not held:
        print("# " + repr(shown)[-1500:], flush=True)


def run(*args, **more):
    return subprocess.run([drover, *args], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=60, **more)


class Screen:
    """drover top at the other end of a pty; text() is what the terminal shows now."""

    def __init__(self, *args, rows=24, columns=120):
        self.master, self.slave = pty.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(self.slave)
        self.out = b""
        self.top = subprocess.Popen([drover, "top", *args], env=env, stdin=self.slave, stdout=self.slave,
                                    stderr=self.slave, start_new_session=True,
                                    preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def text(self):
        last = self.out.rsplit(b"\x1b[H", 1)[-1].decode()
        return re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", last)

    def until(self, wanted):
        """Reads until @wanted(this) holds. Its end of the pty is read as the program writes: no time is waited out."""
        end = time.monotonic() + DEADLINE
        while not wanted(self):
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.master], [], [], left)[0]:
                return False
            self.out += os.read(self.master, 65536)
        return True

    def shows(self, pattern):
        return self.until(lambda s: re.search(pattern, s.text(), re.M))

    def end(self):
        """The exit status, once all that it wrote is read and the terminal is as before; else what is wrong."""
        if not self.until(lambda s: s.out.endswith(LEAVE)):
            self.top.kill()
            return "the screen is not left"
        status = self.top.wait(DEADLINE)
        if termios.tcgetattr(self.slave) != self.before:
            return "the terminal is not as before"
        os.close(self.master)
        os.close(self.slave)
        return status


def type_key(screen, key):
    os.write(screen.master, key)


try:
    r = run("top")
    ok("without a terminal it names stats", r.returncode == 1 and b"'drover stats' prints figures" in r.stderr, r)
    run("up", "web", "-n", "2", "--backend", "fake", "-q", check=True)
    run("up", "db", "--backend", "fake", "-q", check=True)
    run("down", "db", check=True)

    s = Screen()
    ok("it shows who runs and who does not, with figures",
       s.shows(r"^web-1 +running +203\.0\.113\.\d+ +0% +0 +0/s") and s.shows(r"^db +stopped +- +- "), s.text())
    ok("its head counts them", s.shows(r"drover top .* 2 running, 1 at rest "), s.text())
    picture = re.sub("<[^>]*>", "", pathlib.Path(__file__).parents[2].joinpath("docs/top.svg").read_text())
    columns = [re.search(r"^NAME +STATE .*$", text, re.M)[0].split() for text in (s.text(), picture)]
    ok("the picture in docs/ has its columns", columns[0] == columns[1], columns)
    pause = subprocess.Popen([drover, "pause", "web-2"], env=env, stdout=subprocess.DEVNULL)
    ok("a change shows", s.shows(r"^web-2 +paused "), s.text())
    pause.wait()
    s.resize(3, 40)
    ok("a new size of the window counts: three lines of forty",
       s.until(lambda s: len(s.text().split("\r\n")) == 3 and max(map(len, s.text().split("\r\n"))) == 40), s.text())
    ok("a line that is cut ends with a mark", s.text().split("\r\n")[0].endswith(">"), s.text())
    ok("members that have no line are counted", s.text().split("\r\n")[2].rstrip() == "and 3 more", s.text())
    ok("a state has its colour", b"\x1b[33m" in s.out, s.out)
    type_key(s, b"x")
    type_key(s, b"q")
    status = s.end()
    ok("q ends it with 0 and leaves the terminal as it was", status == 0, status)

    env["NO_COLOR"] = "1"
    s = Screen()
    s.shows(r"^web-2 +paused ")
    ok("no colours where they are not wanted", b"\x1b[33m" not in s.out and b"\x1b[31m" not in s.out, s.out)
    type_key(s, b"q")
    s.end()
    del env["NO_COLOR"]

    s = Screen("db")
    ok("names choose", s.shows(r"^db +stopped") and "web-1" not in s.text(), s.text())
    type_key(s, b"\x03")
    status = s.end()
    ok("Ctrl-C ends it with 130 and leaves the terminal as it was", status == 130, status)

    s = Screen()
    s.shows(r"^web-1")
    s.top.send_signal(signal.SIGTERM)
    status = s.end()
    ok("SIGTERM ends it with 143 and leaves the terminal as it was", status == 143, status)
finally:
    run("rm", "-f", "--all")
    shutil.rmtree(home)
print(f"1..{count}")
sys.exit(failures > 0)
