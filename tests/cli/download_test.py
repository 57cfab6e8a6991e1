#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Images from a server that misbehaves: download_test.py path/to/drover"""
import hashlib
import http.server
import os
import pathlib
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import threading

DROVER = os.path.realpath(sys.argv[1])
HOME = pathlib.Path(tempfile.mkdtemp())
CACHE = HOME / "images"
BODY = random.Random(1).randbytes(8 << 20)
OTHER = random.Random(2).randbytes(8 << 20)
SUM = hashlib.sha256(BODY).hexdigest()
HALF = len(BODY) // 2
ENV = dict(os.environ, DROVER_HOME=str(HOME / "home"), DROVER_IMAGE_CACHE=str(CACHE), DROVER_DOWNLOAD_STALL="60",
           no_proxy="127.0.0.1")
ok_count = 0
bad_count = 0


def ok(claim, value, shown=""):
    global ok_count, bad_count
    ok_count += bool(value)
    bad_count += not value
    print(f"{'ok' if value else 'not ok'} {ok_count + bad_count} - {claim}", flush=True)
    if not value:
        print("".join(f"# {line}\n" for line in str(shown).splitlines()), end="", flush=True)


class Server(http.server.ThreadingHTTPServer):
    """What it does wrong is set by each test; what it was asked for is kept."""
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.good()

    def good(self, **wrong):
        self.body = BODY
        self.etag = '"one"'
        self.cut = None  # ends the answer, or stands still, before this byte of the file
        self.cuts = 10 ** 9  # how many answers
        self.length = None  # what it says instead of the truth
        self.ranges = True
        self.shift = 0  # what it adds to where a range begins
        self.hold = None  # stands still until this event
        self.at_hold = threading.Event()
        self.asked = []
        self.__dict__.update(wrong)

    def handle_error(self, request, client_address):
        pass  # clients that go away are the point


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def begin(self):
        """Where the answer begins."""
        s = self.server
        wanted = self.headers.get("Range")
        s.asked.append((self.path, wanted))
        if not wanted or not s.ranges or self.headers.get("If-Range") != s.etag:
            self.send_response(200)
            return 0
        start = int(wanted.removeprefix("bytes=").rstrip("-")) + s.shift
        if start >= len(s.body):
            self.send_response(416)
            return len(s.body)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{len(s.body) - 1}/{len(s.body)}")
        return start

    def do_GET(self):
        s = self.server
        targets = {"/moved": "/good.raw", "/loop": "/loop", "/inside": "file:///etc/hostname"}
        if self.path in targets:
            self.send_response(302)
            self.send_header("Location", targets[self.path])
            self.send_header("ETag", '"of the redirection"')
            self.end_headers()
            return
        if self.path == "/absent":
            self.send_error(404)
            return
        start = self.begin()
        end = len(s.body)
        if s.cut is not None and s.cuts > 0:
            s.cuts -= 1
            end = max(start, s.cut)
        if s.etag:
            self.send_header("ETag", s.etag)
        self.send_header("Content-Length", str((s.length or len(s.body)) - start))
        self.end_headers()
        self.wfile.write(s.body[start:end])
        if s.hold and end < len(s.body):
            s.at_hold.set()
            s.hold.wait(60)


def drover(*args, prefix=(), env=ENV):
    return subprocess.run([*prefix, DROVER, *args], env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=60, check=False)


def fetch(path="/good.raw", sha=SUM, **more):
    sums = ["--sha256", sha] if sha else []
    return drover("image", "import", server.url + path, "--name", "it", *sums, **more)


def left():
    """What is in the cache, locks aside."""
    return sorted(p.name for p in CACHE.iterdir() if not p.name.endswith(".lock")) if CACHE.exists() else []


def works(claim, run, *more):
    disk = CACHE / "it" / "disk.raw"
    ok(claim, run.returncode == 0 and disk.read_bytes() == server.body and all(more) and left() == ["it"],
       f"{run.stderr}{more} {server.asked} {left()}")
    drover("image", "rm", "it")


def fails(claim, run, *words, keeps=()):
    ok(claim, run.returncode == 1 and all(w in run.stderr for w in words) and left() == list(keeps),
       f"{run.returncode} {run.stderr}{server.asked} {left()}")
    drover("image", "rm", "it")


PART = (".it.part", ".it.part.from")
server = Server()


def test_connection_ends():
    server.good()
    run = fetch()
    lines = [line for line in run.stderr.splitlines() if "downloading" in line]
    works("a good server: the image is kept", run)
    ok("progress says how much of what, the rate and the time left",
       any("of 8.4 MB, " in line and " MB/s, 0:00 left" in line and "percent=" in line for line in lines), run.stderr)
    server.good(cut=HALF, cuts=1)
    works("an answer cut short is gone on with, at once", fetch(),
          server.asked[1:] == [("/good.raw", f"bytes={HALF}-")])
    server.good(cut=HALF, cuts=1, ranges=False)
    works("without ranges it begins again", fetch(), len(server.asked) == 2)
    server.good(cut=HALF, cuts=1, etag=None)
    works("without a validator it begins again, and asks for no range", fetch(), server.asked[1][1] is None)
    server.good(cut=HALF, etag=None)
    fails("a server that always ends early and does not say of which file: an error, and nothing is left", fetch(), server.url)
    server.good(cut=HALF)
    run = fetch()
    ok("a server that always ends early: an error, the part is kept", run.returncode == 1 and
       "hint: run it again: it goes on where it ended" in run.stderr and left() == list(PART), f"{run.stderr} {left()}")
    server.good()
    works("the next call asks for the rest only", fetch(), server.asked == [("/good.raw", f"bytes={HALF}-")])


def test_next_call():
    server.good(cut=HALF)
    fetch()
    server.good(body=OTHER, etag='"two"')
    works("a file that is another now is taken whole", fetch(sha=hashlib.sha256(OTHER).hexdigest()),
          len(server.asked) == 1)
    server.good(cut=HALF)
    fetch()
    server.good()
    works("a part of another URL is not gone on with", fetch("/other.raw"), server.asked == [("/other.raw", None)])
    server.good(cut=HALF)
    fetch()
    server.good(shift=512)
    fails("an answer with another part than the one asked for is refused", fetch(), "another part")
    server.good(cut=HALF)
    fetch()
    ok("image rm removes what is left of a download", drover("image", "rm", "it").returncode == 0 and left() == [], left())


def test_killed():
    release = threading.Event()
    server.good(cut=HALF, hold=release)
    with subprocess.Popen([DROVER, "image", "import", server.url + "/good.raw", "--name", "it"], env=ENV,
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as p:
        for line in p.stderr:  # until the half is there
            if "50%" in line or "49%" in line or "4.2 of" in line:
                break
        p.kill()
    release.set()
    server.good()
    works("after kill -9 the next call goes on", fetch(), server.asked[0][1] not in (None, "bytes=0-"))


def test_stalls():
    release = threading.Event()
    env = dict(ENV, DROVER_DOWNLOAD_STALL="1")
    server.good(cut=HALF, cuts=1, hold=release)
    works("a connection that stands still is given up, and gone on with", fetch(env=env), len(server.asked) >= 2)
    server.good(cut=HALF, hold=release)
    fails("a server that always stands still: an error", fetch(env=env), server.url, "hint: run it again", keeps=PART)
    release.set()


def test_lies():
    server.good(body=BODY[:-1] + b"x")
    fails("a byte that is wrong: the digest says it, nothing is left", fetch(), "SHA-256", SUM)
    server.good(length=len(BODY) - 512)
    fails("a length that is too small", fetch(), "SHA-256")
    server.good(length=len(BODY) + 512)
    fails("a length that is too large", fetch(), server.url, "512 bytes remaining", keeps=PART)
    image = HOME / "it.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-o", "preallocation=full", image, "4M"], check=True)
    server.good(body=image.read_bytes(), length=1 << 20)
    fails("a qcow2 image cut short by a lie is found without a digest", fetch("/it.qcow2", None), "cut short")
    server.good(body=b"<html>log in</html>")
    fails("a web page: the sentence is about the URL, not about a file of ours", fetch("/it.qcow2", None),
          f"{server.url}/it.qcow2: it is not a good qcow2 image")
    server.good(body=b"")
    fails("an empty answer", fetch(), "empty")


def test_where():
    server.good()
    works("a redirection is followed", fetch("/moved"), server.asked == [("/good.raw", None)])
    fails("a loop of redirections ends", fetch("/loop"), "redirect")
    fails("a redirection into this machine's files is refused", fetch("/inside"), "cannot download")
    fails("what is not there", fetch("/absent"), "/absent", "404")
    with socket.socket() as deaf:  # it keeps the port from others, and nobody listens there
        deaf.bind(("127.0.0.1", 0))
        fails("no way there: the error says what to import", drover(
            "image", "import", f"http://127.0.0.1:{deaf.getsockname()[1]}/x.raw", "--name", "it"), "drover image import FILE")
    fails("a URL of another kind", drover("image", "import", "ftp://x/it.raw", "--name", "it"), "http, https and file")


def test_catalogue():
    pins = HOME / "pins"
    env = dict(ENV, DROVER_STOCK_IMAGES=str(pins))
    server.good()
    pins.write_text("".join(f"vendor-1 {arch} {server.url}/v.raw {SUM}\n" for arch in ("amd64", "arm64")), encoding="utf-8")
    run = drover("image", "ls", env=env)
    ok("an image of the catalogue is listed with its source", f"downloaded  {server.url}/v.raw" in run.stdout, run.stdout)
    run = drover("image", "build", "vendor-1", env=env)
    ok("it is downloaded by its name, and kept", run.returncode == 0 and left() == ["vendor-1"] and
       (CACHE / "vendor-1/disk.raw").read_bytes() == BODY, run.stderr)
    drover("image", "rm", "vendor-1")
    server.good(body=OTHER)
    run = drover("image", "build", "vendor-1", env=env)
    ok("another digest than the pinned one is refused", run.returncode == 1 and SUM in run.stderr and left() == [], run.stderr)
    source = HOME / "brought.raw"
    source.write_bytes(OTHER)
    run = drover("image", "import", str(source), "--name", "vendor-1", env=env)
    ok("and so is a file brought under its name", run.returncode == 1 and SUM in run.stderr and left() == [], run.stderr)
    source.write_bytes(BODY)
    run = drover("image", "import", str(source), "--name", "vendor-1", env=env)
    ok("the vendor's file can be brought by hand", run.returncode == 0 and left() == ["vendor-1"], run.stderr)
    drover("image", "rm", "vendor-1")
    pins.write_text("vendor-1 amd64 http://x\n", encoding="utf-8")
    run = drover("image", "ls", env=env)
    ok("a bad line in the list is named", run.returncode == 1 and str(pins) in run.stderr and "vendor-1" in run.stderr, run.stderr)
    run = drover("image", "ls", "-q")
    ok("built in are Debian's and Ubuntu's", {"debian-11-generic", "debian-12-generic", "debian-13-generic", "ubuntu-22.04",
                                              "ubuntu-24.04", "ubuntu-26.04"} <= set(run.stdout.split()), run.stdout)


def test_shared():
    server.good()
    argv = [DROVER, "image", "build", server.url + "/shared.raw"]
    runs = [subprocess.Popen(argv, env=ENV, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(4)]
    ok("four clients share one download", [p.wait() for p in runs] == [0] * 4 and len(server.asked) == 1, server.asked)
    shutil.rmtree(CACHE)


def test_full():
    CACHE.mkdir()
    inside = ["unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o size=2M none "$0" && "$@"; r=$?; ls -A "$0" >&2; exit $r', CACHE]
    server.good()
    run = fetch(prefix=inside)
    ok("a full disk: the file system is named, nothing is left", run.returncode == 1 and "is full" in run.stderr and
       str(CACHE) in run.stderr and run.stderr.split()[-1] == ".it.lock", run.stderr)
    source = HOME / "it.raw"
    source.write_bytes(BODY)
    run = drover("image", "import", str(source), "--name", "it", prefix=inside)
    ok("the same for a file", run.returncode == 1 and "is full" in run.stderr and str(CACHE) in run.stderr and
       run.stderr.split()[-1] == ".it.lock", run.stderr)


threading.Thread(target=server.serve_forever, daemon=True).start()
try:
    for test in (test_connection_ends, test_next_call, test_killed, test_stalls, test_lies, test_where, test_catalogue, test_shared, test_full):
        test()
finally:
    shutil.rmtree(HOME)
print(f"1..{ok_count + bad_count}")
sys.exit(bad_count > 0)
