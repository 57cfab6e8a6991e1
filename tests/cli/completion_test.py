#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""completion_test.py DROVER COMPLETION_DIR: what the tab key makes of a command line in real shells on a terminal."""
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

drover, completions = os.path.realpath(sys.argv[1]), os.path.realpath(sys.argv[2])
home = tempfile.mkdtemp()
os.environ.update(DROVER_HOME=home + '/home', DROVER_IMAGE_CACHE=home + '/cache', HOME=home, TERM='xterm',
                  XDG_RUNTIME_DIR=home,  # or fish has a directory of its own beside the temporary ones
                  PATH=os.path.dirname(drover) + ':' + os.environ['PATH'])
os.makedirs(home + '/files/only-folder')
open(home + '/files/only-folder/disk.raw', 'w').close()
os.mkfifo(home + '/lines')
lines = os.open(home + '/lines', os.O_RDWR)
os.chdir(home + '/files')

SHELLS = {
    'bash': (['bash', '--norc', '--noprofile', '-i'], f'. {completions}/drover.bash; '
             f"""bind -x '"\\C-g": printf "%s\\n" "$READLINE_LINE" >{home}/lines; READLINE_LINE='"""),
    'zsh': (['zsh', '-f', '-i'], f'fpath=({completions} $fpath); autoload -U compinit; compinit -u -D; bindkey -e; '
            f'tell() {{ print -r -- $BUFFER >{home}/lines; BUFFER= }}; zle -N tell; bindkey "^G" tell'),
    'fish': (['fish', '-i', '-N'], f'source {completions}/drover.fish; bind \\cg "commandline >{home}/lines; commandline --replace \'\'"'),
}
# what is typed before the tab key, and the whole line after it
LINES = [
    ('drover ls --qu', 'drover ls --quiet'),
    ('drover forw', 'drover forward'),
    ('drover ssh db', 'drover ssh db-1'),
    ('drover down we', 'drover down web'),
    ('drover down web-1 web-', 'drover down web-1 web-2'),
    ('drover help pru', 'drover help prune'),
    ('drover up --backend fa', 'drover up --backend fake'),
    ('drover up --backend=fa', 'drover up --backend=fake'),
    ('drover up --image tin', 'drover up --image tiny'),
    ('drover up --image=tin', 'drover up --image=tiny'),
    ('drover up --initrd no', 'drover up --initrd none'),
    ('drover up --kernel only-folder/di', 'drover up --kernel only-folder/disk.raw'),
    ('drover up --image only-folder/di', 'drover up --image only-folder/disk.raw'),
    ('drover image im', 'drover image import'),
    ('drover image rm tin', 'drover image rm tiny'),
    ('drover net exec we', 'drover net exec web'),
    ('drover net exec web -- unam', 'drover net exec web -- uname'),
    ('drover run -n 2 -- unam', 'drover run -n 2 -- uname'),
    ('drover run -n 2 -- cat onl', 'drover run -n 2 -- cat only-folder/'),
    ('drover reset web cl', 'drover reset web clean'),
    ('drover snapshot load web-1 cl', 'drover snapshot load web-1 clean'),
    ('drover snapshot rm web cl', 'drover snapshot rm web clean'),
    ('drover snapshot export we', 'drover snapshot export web'),
    ('drover snapshot export web:cl', 'drover snapshot export web:clean'),
    ('drover fork web:cl', 'drover fork web:clean'),
    ('drover run --from we', 'drover run --from web'),
    ('drover run --from web:cl', 'drover run --from web:clean'),
    ('drover run --from=web:cl', 'drover run --from=web:clean'),
    ('drover run --from ./onl', 'drover run --from ./only-folder/'),
    ('drover cp db', 'drover cp db-1:'),
    ('drover cp onl', 'drover cp only-folder/'),
]
DEADLINE_S = 60
number = failures = 0


def result(good, claim, seen=''):
    global number, failures
    number += 1
    failures += not good
    print(('ok' if good else 'not ok'), number, '-', claim, flush=True)
    if not good:
        print('# ' + repr(seen), flush=True)


class Shell:
    """A shell on a terminal; its key ^G writes the line that is being typed into a pipe, and empties it."""
    def __init__(self, argv, setup):
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.execvp(argv[0], argv)
        self.seen = b''  # what the terminal showed last
        self.type(setup + '\r')

    def type(self, keys):
        os.write(self.terminal, keys.encode())

    def line(self):
        got = ''
        deadline = time.monotonic() + DEADLINE_S
        while (left := deadline - time.monotonic()) > 0:
            ready = select.select([self.terminal, lines], [], [], left)[0]
            if self.terminal in ready:
                self.seen = os.read(self.terminal, 65536)
            if lines in ready:
                got += os.read(lines, 65536).decode()
            if got.endswith('\n'):
                return got.rstrip()
        return self.seen

    def close(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.terminal)


def try_shell(name, argv, setup):
    shell = Shell(argv, setup + f'; echo ready >{home}/lines')
    result(shell.line() == 'ready', f'{name} takes its completion')
    for typed, want in LINES:
        shell.type(typed + '\t\x07')
        seen = shell.line()
        result(seen == want, f'{name}: {typed} becomes {want}', seen)
    shell.close()


try:
    up = subprocess.run([drover, 'up', 'web-1', 'web-2', '--backend', 'fake', '--quiet'], capture_output=True)
    also = subprocess.run([drover, 'up', 'db-1', '--backend', 'fake', '--quiet'], capture_output=True)
    save = subprocess.run([drover, 'snapshot', 'save', 'web', 'clean'], capture_output=True)
    result(not any(x.returncode for x in (up, also, save)), 'members and a point to complete are there',
           up.stderr + also.stderr + save.stderr)
    for shell, (argv, setup) in SHELLS.items():
        if shutil.which(shell):
            try_shell(shell, argv, setup)
        else:
            number += 1
            print(f'ok {number} - {shell} # SKIP is not installed')
finally:
    subprocess.run([drover, 'rm', '-f', '--all'], capture_output=True)
    shutil.rmtree(home)
print(f'1..{number}')
sys.exit(failures > 0)
