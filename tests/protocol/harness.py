# SPDX-License-Identifier: MIT
"""What the protocol tests share: TAP, a helper in a home of its own, connections with deadlines, file events."""
import array
import atexit
import ctypes
import hashlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

TESTS = []  # (name, function) of each test of the file that runs
DEADLINE = 60.0  # seconds for anything that happens at once where the machine is idle
SCRATCH = tempfile.mkdtemp(prefix="drv-")  # below it are the homes of all helpers: a test that is killed leaves no more
atexit.register(shutil.rmtree, SCRATCH, ignore_errors=True)


def new_home():
    return tempfile.mkdtemp(dir=SCRATCH)


class Skip(Exception):
    pass


def expect(what, want, got):
    if want != got:
        raise AssertionError(f"{what}\n  wanted {want!r}\n  got    {got!r}")


def test(function):
    TESTS.append((function.__name__.replace("_", " "), function))
    return function


def code(reply):
    return (reply or {}).get("code")


def run_tests(tests):
    """tests: (name, function) pairs. Prints TAP; returns the exit code."""
    failed = 0
    print(f"1..{len(tests)}")
    for number, (name, function) in enumerate(tests, 1):
        try:
            function()
            print(f"ok {number} - {name}", flush=True)
        except Skip as why:
            print(f"ok {number} - {name} # SKIP {why}", flush=True)
        except Exception:
            failed += 1
            print(f"not ok {number} - {name}")
            for line in traceback.format_exc().splitlines():
                print(f"# {line}", flush=True)
    return 1 if failed else 0


def socket_key(name):
    return hashlib.sha256(name.encode()).hexdigest()[:16]


def mac_of(salt, name):
    h = hashlib.sha256((salt + name).encode()).digest()
    return ":".join(f"{b:02x}" for b in bytes([(h[0] & 0xFE) | 2]) + h[1:6])


class DirWatch:
    """Waits for a condition on a directory's entries; wakes on inotify events only."""

    def __init__(self, path):
        libc = ctypes.CDLL(None, use_errno=True)
        self.fd = libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        # create, delete, moved from, moved to
        if self.fd < 0 or libc.inotify_add_watch(self.fd, os.fsencode(path), 0x100 | 0x200 | 0x40 | 0x80) < 0:
            raise OSError(ctypes.get_errno(), f"inotify {path}")

    def wait_for(self, condition, what, seconds=DEADLINE):
        end = time.monotonic() + seconds
        while not condition():
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.fd], [], [], left)[0]:
                if condition():
                    break
                raise AssertionError(f"in {seconds} s did not happen: {what}")
            os.read(self.fd, 65536)
        os.close(self.fd)


class Conn:
    """One connection; recv never waits over its deadline."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(DEADLINE)
        self.sock.connect(path)
        self.buffer = b""
        self.fds = []

    def send(self, data):
        """Like sendall, but a peer that has closed already is no error: its reply is what counts."""
        try:
            self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def request(self, value):
        self.send(json.dumps(value).encode() + b"\n")
        return self

    def _more(self):
        try:
            data, ancillary, _, _ = self.sock.recvmsg(65536, socket.CMSG_SPACE(16))
        except ConnectionResetError:
            return False
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds = array.array("i")
                fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
                self.fds += fds
        self.buffer += data
        return bool(data)

    def line(self):
        """The next line, or None when the peer closed."""
        while b"\n" not in self.buffer:
            if not self._more():
                return None
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line + b"\n"

    def bytes(self, count):
        while len(self.buffer) < count:
            if not self._more():
                break
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def reply(self):
        line = self.line()
        return None if line is None else json.loads(line)

    def closed(self):
        """True when the peer closes without another byte; waits for it."""
        return not self.buffer and not self._more()

    def silent(self):
        """True when nothing, not even the end, is there to read now."""
        return not self.buffer and not select.select([self.sock], [], [], 0)[0]

    def close(self):
        for fd in self.fds:
            os.close(fd)
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Helper:
    """drover-helper on the fake backend, in a temporary home. Leaving the `with` ends it and checks what it left."""

    def __init__(self, *members, bound=None, env=None, arguments=(), home=None, own_home=True, log=None):
        self.members = members
        self.home = home or new_home()
        self.own_home = own_home
        self.environment = dict(os.environ, DROVER_HOME=self.home, **(env or {}))
        self.record_path = os.path.join(self.home, "record")
        self.environment["DROVER_FAKE_RECORD"] = self.record_path
        ready, theirs = os.pipe()
        command = [os.environ["DROVER_HELPER"], "--members", ",".join(members), "--backend", "fake",
                   "--ready-fd", str(theirs), *arguments]
        if bound:
            command += ["--bound", str(bound)]
        self.log_path = log or os.path.join(self.home, "log")
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(command, env=self.environment, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, pass_fds=[theirs])
        os.close(theirs)
        self.ready = self._read_ready(ready)
        self.pid = self.process.pid

    @staticmethod
    def _read_ready(fd):
        text = b""
        while select.select([fd], [], [], DEADLINE)[0]:
            data = os.read(fd, 4096)
            text += data
            if not data or text.endswith(b"\n"):
                break
        os.close(fd)
        return text.decode()

    def path(self, name, suffix="sock"):
        return os.path.join(self.home, "run", f"{socket_key(name)}.{suffix}")

    def member_path(self, name, file):
        cluster, _, number = name.rpartition("-")
        return os.path.join(self.home, "clusters", cluster if cluster and number.isdigit() else name, name, file)

    def connect(self, name=None, suffix="sock"):
        return Conn(self.path(name or self.members[0], suffix))

    def call(self, value, name=None):
        """One protocol-2 exchange; checks that the helper closes after it."""
        with self.connect(name) as c:
            reply = c.request(value).reply()
            if not c.closed():
                raise AssertionError(f"the connection stays open after {value}")
            return reply

    def boot(self, name, via=None, prepare=True):
        if prepare:
            self.call({"cmd": "createnetwork"}, via)
            self.call({"cmd": "reserve", "name": name}, via)
        return self.call({"cmd": "boot-member", "spec": {"name": name, "cpus": 1, "memory_bytes": 1 << 20}}, via)

    def begin_boot(self, name, via=None):
        """Sends boot-member and returns once the helper has begun; the connection gets the reply."""
        watch = self.watch(via)
        boot = self.connect(via).request({"cmd": "boot-member", "spec": {"name": name}})
        watch.until(lambda event: event["event"] == "stage" and event["name"] == name)
        watch.close()
        return boot

    def watch(self, via=None):
        conn = Watch(self.path(via or self.members[0]))
        conn.request({"cmd": "watch"})
        return conn

    def expect_served(self, while_there_is):
        """Another client is answered, however long it takes: what counts is that a peer of ill will is there meanwhile."""
        with self.connect() as c:
            c.request({"cmd": "status", "id": 1})
            expect(f"another client is served while there is {while_there_is}", self.pid, c.reply()["status"]["pid"])

    def status(self, name=None):
        return self.call({"cmd": "status"}, name)["status"]

    def record(self, op=None):
        if not os.path.exists(self.record_path):
            return []
        with open(self.record_path, encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
        return [row for row in rows if op in (None, row["op"])]

    def wait_socket_gone(self, name):
        watch = DirWatch(os.path.join(self.home, "run"))
        watch.wait_for(lambda: not os.path.exists(self.path(name)), f"the socket of {name} is removed")

    def alive(self):
        return self.process.poll() is None

    def wait_exit(self, want=0):
        expect("the helper's exit code", want, self.process.wait(DEADLINE))

    def log(self):
        if not os.path.isfile(self.log_path):
            return ""
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def left(self):
        found = [os.path.join("run", n) for n in os.listdir(os.path.join(self.home, "run"))]
        for folder, _, files in os.walk(os.path.join(self.home, "clusters")):
            found += [os.path.join(folder, n) for n in files if n in ("pid", "owner")]
        return found

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        try:
            if self.alive():
                self.process.send_signal(signal.SIGTERM)
            code = self.process.wait(DEADLINE)
            if kind is None:
                expect("exit code; log: " + self.log(), 0, code)
                expect("nothing is left behind", [], self.left())
                if "internal error" in self.log():
                    raise AssertionError(self.log())
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            if kind is not None:
                print("# helper's log: " + self.log().replace("\n", "\n#   "))
            if self.own_home:
                shutil.rmtree(self.home, ignore_errors=True)


def has_sandbox():
    """Whether this host lets the real backends make their namespaces."""
    told = subprocess.run([os.environ["DROVER_HELPER"], "--check"], check=True, capture_output=True, text=True).stdout
    checks = {row["check"]: row for row in map(json.loads, told.splitlines())}
    return all(checks[check]["state"] == "ok" for check in ("tun", "namespaces"))


class Watch(Conn):
    def until(self, wanted):
        """Reads events to the first that is wanted; returns all that were read."""
        events = []
        while True:
            event = self.reply()
            if event is None:
                raise AssertionError(f"the event stream ended after {events}")
            events.append(event)
            if wanted(event):
                return events


def main(tests):
    sys.exit(run_tests(tests))
