# SPDX-License-Identifier: MIT
"""drover run -n 2 -- python3 -m pytest examples/pytest"""
import os
import subprocess

import pytest

MEMBERS = os.environ.get("DROVER_MEMBERS", "").split()
pytestmark = pytest.mark.skipif(len(MEMBERS) < 2, reason="needs a cluster: drover run -n 2 -- python3 -m pytest")


def run(member, *command):
    """What a command prints in a member; its failure is the test's."""
    return subprocess.run(["drover", "exec", member, "--", *command], check=True, text=True, stdout=subprocess.PIPE).stdout


@pytest.mark.parametrize("member", MEMBERS)
def test_member_knows_its_name(member):
    assert run(member, "hostname").strip() == member


def test_members_reach_each_other():
    run(MEMBERS[0], "ping", "-c", "1", MEMBERS[1])
    run(MEMBERS[1], "ping", "-c", "1", MEMBERS[0])
