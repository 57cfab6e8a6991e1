#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""tutorial.py TUTORIAL: runs each command of its ```console blocks, in one shell, and compares what is printed.

A line "$ COMMAND" is a claim: it ends with 0, and prints the lines below it. "..." in them stands for anything, a line of it
alone for any lines; how many blanks there are does not matter. A ```c block whose first line is "/* NAME */" is written to
that file first."""
import re
import subprocess
import sys

MARK = '-- done: '


def blocks(text):
    for kind, body in re.findall(r'^```(\w+)\n(.*?)^```$', text, re.S | re.M):
        if kind == 'c':
            yield 'file', re.match(r'/\* (\S+) \*/\n', body).group(1), body
        elif kind == 'console':
            for command, output in re.findall(r'^\$ (.*)\n((?:(?!\$ ).*\n)*)', body, re.M):
                yield 'run', command, output


def plain(text):
    return [re.sub(r'\s+', ' ', line).strip() for line in text.splitlines()]


def fits(wanted, printed):
    pattern = ''
    for line in plain(wanted):
        pattern += r'(?:.*\n)*' if line == '...' else re.escape(line).replace(r'\.\.\.', '.*') + r'\n'
    return re.fullmatch(pattern, ''.join(line + '\n' for line in plain(printed))) is not None


def run(shell, command):
    """Status and output of a command in the shell that goes on."""
    shell.stdin.write(f'{{ {command}\n}} </dev/null\necho "{MARK}$?"\n')
    shell.stdin.flush()
    printed = ''
    for line in shell.stdout:
        if MARK in line:
            before, status = line.split(MARK)
            return int(status), printed + before
        printed += line
    return -1, printed


shell = subprocess.Popen(['bash'], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
number = failures = 0
for kind, what, body in blocks(open(sys.argv[1]).read()):
    if kind == 'file':
        open(what, 'w').write(body)
        continue
    status, printed = run(shell, what)
    good = status == 0 and fits(body, printed)
    number += 1
    failures += not good
    print('ok' if good else 'not ok', number, '-', what.replace('#', ''), flush=True)
    if not good:
        print(f'# exit status {status}, printed:', *printed.splitlines(), sep='\n# ', flush=True)
shell.stdin.close()
shell.wait()
print(f'1..{number}')
sys.exit(failures > 0 or number == 0)
