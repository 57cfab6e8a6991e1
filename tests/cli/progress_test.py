#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""progress_test.py DROVER: what is shown while drover works, on a terminal and elsewhere."""
import http.server
import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import tempfile
import threading
import time

DROVER = os.path.realpath(sys.argv[1])
HOME = tempfile.mkdtemp()
BODY = os.urandom(1 << 20) * 4
DEADLINE_S = 60
ENV = dict(os.environ, DROVER_HOME=HOME + '/home', DROVER_IMAGE_CACHE=HOME + '/images', TERM='xterm', no_proxy='127.0.0.1',
           DROVER_IMAGE_BUILD=HOME + '/builder', COLUMNS='100')
number = failures = 0


def ok(claim, value, shown=''):
    global number, failures
    number += 1
    failures += not value
    print(f"{'ok' if value else 'not ok'} {number} - {claim}", flush=True)
    if not value:
        print(''.join(f'# {line!r}\n' for line in str(shown).splitlines()), end='', flush=True)


class Terminal:
    """drover on a terminal, in a process of its own."""
    def __init__(self, *args, rows=24, columns=100, **env):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            subprocess.run(['stty', 'cols', str(columns), 'rows', str(rows)], check=True)
            os.execve(DROVER, [DROVER, *args], dict(ENV, **env))
        self.text = ''
        self.status = None

    def wait(self, pattern=None):
        """True when @pattern has been shown; without it, when drover has ended with 0."""
        deadline = time.monotonic() + DEADLINE_S
        while self.status is None and not (pattern and re.search(pattern, self.text)):
            if not select.select([self.fd], [], [], max(0, deadline - time.monotonic()))[0]:
                return False
            try:
                self.text += os.read(self.fd, 65536).decode()
            except OSError:
                self.status = os.waitpid(self.pid, 0)[1]
        return re.search(pattern, self.text) is not None if pattern else self.status == 0


def drover(*args, **env):
    return subprocess.run([DROVER, *args], env=dict(ENV, **env), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=DEADLINE_S, check=False)


def screen(text, rows=24):
    """What a terminal of @rows shows after @text, and what has left it upwards: ESC [ n A goes n up, but not out of it, and
    ESC [ J clears to its end."""
    lines, y = [''], 0
    for part in re.findall(r'\x1b\[\d*[A-Z]|\r|\n|[^\x1b\r\n]+', text):
        up = re.fullmatch(r'\x1b\[(\d+)A', part)
        if up:
            y = max(y - int(up.group(1)), len(lines) - rows, 0)
        elif part == '\n':
            y += 1
            lines += [''] * (y + 1 - len(lines))
        elif part == '\x1b[J':
            lines[y:] = [''] * len(lines[y:])
        elif part != '\r':
            lines[y] += part
    return lines


class Handler(http.server.BaseHTTPRequestHandler):
    hold = threading.Event()

    def log_message(self, *args):
        pass

    def do_GET(self):
        self.send_response(200)
        self.send_header('Content-Length', str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY[:len(BODY) // 2])
        self.hold.wait(DEADLINE_S)
        self.wfile.write(BODY[len(BODY) // 2:])


def make_builder():
    """One that says a quarter is done, and then nothing until it reads a line from the pipe."""
    os.mkfifo(HOME + '/go')
    with open(HOME + '/builder', 'w') as f:
        f.write(f'''#!/bin/sh
case $1 in
--list) printf 'tiny\\tof this test\\n' ;;
--clean) rm -rf "$2" ;;
*)
	echo "progress 25 fetching packages"
	read go <{HOME}/go
	echo kernel >"$2/vmlinuz"
	echo '{{"name":"tiny","kernel":"vmlinuz","initrd":"vmlinuz","user":"root"}}' >"$2/image.json" ;;
esac
''')
    os.chmod(HOME + '/builder', 0o755)


def boots():
    t = Terminal('up', 'web', '-n', '2', '--backend', 'fake', DROVER_FAKE_BOOT_MS='2500')
    ok('a stage that lasts: its seconds are counted', t.wait(r'web-1  start +\([1-9]\.\d s\)'), t.text)
    ok('up on a terminal ends', t.wait(), t.text)
    lines = screen(t.text)
    ok('one line a member stays, with its stage and its seconds', len([x for x in lines if re.match(
        r'web-\d  ready    203\.0\.113\.\d \(\d+\.\d s\)$', x)]) == 2 and len(lines) < 8, '\n'.join(lines))
    ok('the line of the network is gone when members have theirs', not [x for x in lines if 'network' in x], '\n'.join(lines))
    drover('rm', '-f', 'web')
    t = Terminal('up', 'web', '-n', '9', '--backend', 'fake', rows=6)
    ok('up of more members than the terminal has lines ends', t.wait(), t.text)
    lines = screen(t.text, 6)
    ok('their lines do not run over: 4, and how many more there are', lines[4:5] == ['and 5 more, 5 of them ready'],
       '\n'.join(lines))
    drover('rm', '-f', 'web')
    t = Terminal('up', 'a-member-with-a-name', '--backend', 'fake', columns=40, TERM='xterm')
    ok('up on a narrow terminal ends', t.wait(), t.text)
    ok('a line that is cut ends with dots', screen(t.text)[0] == 'a-member-with-a-name  ready    203.0...', t.text)
    drover('rm', '-f', 'a-member-with-a-name')
    t = Terminal('up', 'web', '--backend', 'fake', TERM='dumb')
    ok('no control codes for a terminal that knows none', t.wait() and '\x1b' not in t.text, t.text)
    drover('rm', '-f', 'web')
    p = drover('up', 'web', '-n', '2', '--backend', 'fake', DROVER_FAKE_BOOT_MS='1500')
    events = [re.fullmatch(r'progress(?: member=(\S+))? stage=(\w+)(?: percent=(\d+))? elapsed_ms=(\d+) text="(.*)"', x)
              for x in p.stderr.splitlines()]
    ok('elsewhere each change is a line of KEY=VALUE', events and all(events), p.stderr)
    ok('the stages of a member, each once', [e.group(2) for e in events if e and e.group(1) == 'web-1'] ==
       ['prepare', 'start', 'ready'], p.stderr)
    drover('rm', '-f', 'web')
    p = drover('up', 'web', '-n', '2', '--backend', 'fake', '--json', DROVER_FAKE_BOOT_MS='1500')
    told = [json.loads(x) for x in p.stdout.splitlines()]
    ok('--json: the same as objects on stdout, and nothing on stderr', p.stderr == '' and
       [e['stage'] for e in told if e['member'] == 'web-2'] == ['prepare', 'start', 'ready', 'up'], p.stdout + p.stderr)
    drover('rm', '-f', 'web')
    p = drover('up', 'web', '-n', '2', '--backend', 'fake', '--quiet')
    ok('--quiet: no progress', p.stderr == '' and p.returncode == 0, p.stderr)


def downloads(url):
    t = Terminal('image', 'import', url, '--name', 'it')
    ok('a download has a bar, its rate and the time that is left', t.wait(
        r'image    \[#{10}\.{10}\]  50% downloading 2\.1 of 4\.2 MB, [\d.]+ MB/s, \d+:\d\d left \(\d+\.\d s\)'), t.text)
    Handler.hold.set()
    ok('and ends', t.wait(), t.text)
    drover('image', 'rm', 'it')
    p = drover('image', 'import', url, '--name', 'it')
    ok('elsewhere at most a line for each tenth, with the rate', 1 < len(p.stderr.splitlines()) < 12 and all(re.fullmatch(
        r'progress stage=image percent=\d+ elapsed_ms=\d+ text="downloading .* MB/s.*"', x) for x in p.stderr.splitlines()), p.stderr)
    drover('image', 'rm', 'it')
    p = drover('image', 'import', url, '--name', 'it', '--quiet')
    ok('--quiet: no progress of a download', p.stderr == '' and p.stdout == '' and p.returncode == 0, p.stderr)


def builds():
    t = Terminal('image', 'build', 'tiny')
    ok('a silent build has a bar, its seconds and an estimate', t.wait(
        r'image    \[#{5}\.{15}\]  25% fetching packages, about \d+:\d\d left \([1-9]\d*\.\d s\)'), t.text)
    with open(HOME + '/go', 'w') as go:
        go.write('go\n')
    ok('and ends', t.wait(), t.text)


server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
try:
    make_builder()
    boots()
    downloads(f'http://127.0.0.1:{server.server_address[1]}/disk.raw')
    builds()
finally:
    drover('rm', '-f', '--all')
    shutil.rmtree(HOME)
print(f'1..{number}')
sys.exit(failures > 0)
