#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The pages in man/ against the command itself.   pages_test.py path/to/drover path/to/man"""
import pathlib
import re
import subprocess
import sys

drover, man = sys.argv[1], pathlib.Path(sys.argv[2])
count = failures = 0


def check(claim, problems):
    global count, failures
    count += 1
    print(f'{"not " if problems else ""}ok {count} - {claim}')
    failures += bool(problems)
    for problem in problems:
        print(f'# {problem}')


def said(*args):
    done = subprocess.run([drover, *args], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


def helped(command):
    """What --help lists: {('c', 'count', 'N')}."""
    found = set()
    for letter, name, value in re.findall(r'^  (?:-(\w), |    )--([\w-]+)(?: (\S+))?(?:  |$)', said(command, '--help'), re.M):
        found.add((letter, name, value))
    return found


def paged(text):
    """What the page lists, as `*-c*, *--count* _N_` and below it what that is; without the emphasis."""
    found = set()
    for line in re.findall(r'^(\*-.*)\n\t', text, re.M):
        plain = line.replace('*', '').replace('_', '')
        letter, name, value = re.fullmatch(r'(?:-(\w), )?--([\w-]+)(?: (\S+))?', plain).groups('')
        found.add((letter, name, value))
    return found


def differences(command, text):
    for letter, name, value in sorted(helped(command) ^ paged(text)):
        where = 'help' if (letter, name, value) in helped(command) else 'page'
        yield f'only in the {where}: {"-" + letter + ", " if letter else ""}--{name} {value}'


commands = re.findall(r'^  (\S+)  +\S', said('help'), re.M)
overview = (man / 'drover.1.scd').read_text()
pages = {path.name for path in man.glob('*.scd')}
with_page = [c for c in commands if c not in ('help', 'version')]
check('each command has a page, and there is no other page',
      sorted({f'drover-{c}.1.scd' for c in with_page} ^ (pages - {'drover.1.scd'})))
check('the overview names each command and its page',
      [c for c in with_page if not re.search(rf'^\*.*\b{c}\b', overview, re.M) or f'*drover-{c}*(1)' not in overview])
for command in with_page:
    page = man / f'drover-{command}.1.scd'
    if page.exists():
        check(f'drover {command} --help and its page have the same options', list(differences(command, page.read_text())))



def most(command, name):
    """What the command says, when it is given 0, of how many there can be; None of an option that is no number of things."""
    done = subprocess.run([drover, command, f'--{name}=0'], capture_output=True, text=True, timeout=60, check=False)
    found = re.search(rf"option --{name}: '0' is not a number from 1 to (\d+)$", done.stderr, re.M)
    return found and found[1]


def limits_not_told():
    for command in with_page:
        text = (man / f'drover-{command}.1.scd').read_text()
        for _, name, value in sorted(helped(command)):
            number = value in ('N', 'K') and most(command, name)
            told = re.search(rf'^\*(?:-\w\*, \*)?--{name}\* .*\n((?:\t.*\n)+)', text, re.M)
            if number and not (told and re.search(rf'\b{number}\b', told[1])):
                yield f'drover {command} --{name}: at most {number}'


check('the pages tell the most that a command takes of something', list(limits_not_told()))
check('lines of an example stand under each other',
      [f'{name}: {line}' for name in pages for line in (man / name).read_text().split('\n') if re.match(r'\t.*\+\+$', line)])
print(f'1..{count}')
sys.exit(failures > 0)
