#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The maintenance tool for the catalogue's pins, against a vendor's site on loopback: refresh_test.py TOOL"""
import functools
import hashlib
import http.server
import pathlib
import subprocess
import sys
import tempfile
import threading

TOOL = sys.argv[1]
results = []


def ok(claim, value, shown=""):
    results.append(bool(value))
    print(f"{'ok' if value else 'not ok'} {len(results)} - {claim}")
    if not value:
        print("".join(f"# {line}\n" for line in str(shown).splitlines()), end="")


def put(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


with tempfile.TemporaryDirectory() as folder:
    home = pathlib.Path(folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_address[1]}"
    image = "debian-12-generic-amd64-20260701-2500.raw"
    put(home / "d/bookworm/20260601-2496/old", b"")
    put(home / "d/bookworm/20260701-2500" / image, b"new")
    sums = home / "d/bookworm/20260701-2500/SHA512SUMS"
    put(sums, f"{hashlib.sha512(b'new').hexdigest()}  {image}\n".encode())
    put(home / "u/noble/release-20260518/old", b"")
    put(home / "u/noble/release-20260601/SHA256SUMS", f"{'a' * 64} *ubuntu-24.04-server-cloudimg-arm64.img\n".encode())
    put(home / "u/jammy/release-20260515/old", b"")
    kept = f"ubuntu-22.04 amd64 {base}/u/jammy/release-20260515/ubuntu-22.04-server-cloudimg-amd64.img {'b' * 64}"
    before = f"# a comment\ndebian-12-generic amd64 {base}/old {'0' * 64}\nubuntu-24.04 arm64 {base}/old {'0' * 64}\n{kept}\n"
    pins = home / "pins"
    argv = [TOOL, "--file", str(pins), "--debian", base + "/d", "--ubuntu", base + "/u"]

    pins.write_text(before, encoding="utf-8")
    run = subprocess.run(argv, capture_output=True, text=True, check=False)
    lines = pins.read_text(encoding="utf-8").splitlines()
    shown = f"{run.stderr}{lines}"
    ok("the newest snapshot is pinned, with the SHA-256 of what was read", run.returncode == 0 and lines[1] ==
       f"debian-12-generic amd64 {base}/d/bookworm/20260701-2500/{image} {hashlib.sha256(b'new').hexdigest()}", shown)
    ok("or with the published one", lines[2] == f"ubuntu-24.04 arm64 {base}/u/noble/release-20260601/"
       f"ubuntu-24.04-server-cloudimg-arm64.img {'a' * 64}", shown)
    ok("what is the newest already, and comments, are kept", lines[0] == "# a comment" and lines[3:] == [kept], shown)

    pins.write_text(before, encoding="utf-8")
    put(sums, f"{'f' * 128}  {image}\n".encode())
    run = subprocess.run(argv, capture_output=True, text=True, check=False)
    ok("an image that is not what is published is refused, and the pins stay",
       run.returncode == 1 and "SHA-512" in run.stderr and pins.read_text(encoding="utf-8") == before, run.stderr)
    server.shutdown()
print(f"1..{len(results)}")
sys.exit(not all(results))
