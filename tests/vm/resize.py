#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A terminal that changes its size while `drover ssh` runs in it: the guest's terminal has the new one.   resize.py DROVER MEMBER"""
import fcntl
import os
import pty
import re
import select
import struct
import sys
import termios
import time

LIMIT_S = 120
drover, member = sys.argv[1:]
pid, terminal = pty.fork()
if pid == 0:
    os.environ['TERM'] = 'dumb'
    os.execv(drover, [drover, 'ssh', member])
seen = ''


def resize(rows, columns):
    """Setting the size of a pty sends SIGWINCH to what runs in it."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack('HHHH', rows, columns, 0, 0))


def expect(pattern):
    global seen
    end = time.monotonic() + LIMIT_S
    while not re.search(pattern, seen):
        if not select.select([terminal], [], [], max(0, end - time.monotonic()))[0]:
            sys.exit(f'no /{pattern}/ in {seen!r}')
        try:
            seen += os.read(terminal, 4096).decode(errors='replace')
        except OSError:
            sys.exit(f'the end, and no /{pattern}/ in {seen!r}')


def type_line(text):
    os.write(terminal, text.encode() + b'\r')


# the guest says itself that a size has arrived: a signal ends `wait` at once, to run its trap
resize(24, 80)
type_line("sh -c 'trap \"echo changed to \\`stty size\\`\" WINCH; echo first `stty size`; while :; do sleep 60 & wait; done'")
expect(r'\nfirst 24 80')
for rows, columns in ((33, 101), (10, 40)):
    resize(rows, columns)
    expect(rf'\nchanged to {rows} {columns}')
os.write(terminal, b'\x03')
type_line('exit 7')
_, status = os.waitpid(pid, 0)
if os.waitstatus_to_exitcode(status) != 7:
    sys.exit(f'ended with {status:#x} instead of the status of the shell, 7')
