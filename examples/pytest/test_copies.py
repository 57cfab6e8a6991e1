# SPDX-License-Identifier: MIT
"""A cluster is set up once, and each test gets a copy of it: drover run -n 2 -- python3 -m pytest examples/pytest"""
import itertools
import os
import subprocess

import pytest

MEMBERS = os.environ.get("DROVER_MEMBERS", "").split()
pytestmark = pytest.mark.skipif(len(MEMBERS) < 2, reason="needs a cluster: drover run -n 2 -- python3 -m pytest")
numbers = itertools.count(1)


def drover(*words):
    return subprocess.run(["drover", *words], check=True, text=True, stdout=subprocess.PIPE).stdout


def shell(member, line):
    return drover("exec", member, "--", "sh", "-c", line)


@pytest.fixture(scope="session")
def original():
    shell(MEMBERS[0], "echo ready >/tmp/state")
    return MEMBERS[0]


@pytest.fixture
def copy(original):
    """The members of a copy, which are called as the original's inside."""
    name = f"copy-{os.getpid()}-{next(numbers)}"
    yield drover("fork", "--quiet", original, name).split()
    drover("rm", "--force", name)


@pytest.mark.parametrize("word", ["one", "two"])
def test_starts_from_the_set_up_whatever_the_other_did(copy, word):
    assert shell(copy[0], "cat /tmp/state") == "ready\n"
    shell(copy[0], f"echo {word} >/tmp/state")
    shell(copy[0], f"ping -c 1 -W 5 {MEMBERS[1]}")
