#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Each field of the JSON on standard input, nested ones too, is a word of the page.   documented.py PAGE"""
import json
import re
import sys


def fields(value):
    if isinstance(value, list):
        return set().union(*map(fields, value))
    if isinstance(value, dict):
        return set(value).union(*map(fields, value.values()))
    return set()


text = sys.stdin.read()
page = open(sys.argv[1]).read()
try:
    rows = json.loads(text)
except ValueError:  # an object a line
    rows = [json.loads(line) for line in text.splitlines()]
found = fields(rows)
missing = sorted(key for key in found if not re.search(rf'\b{key}\b', page))
print(f'fields: {" ".join(sorted(found))}; not in the page: {" ".join(missing) or "none"}')
sys.exit(not found or bool(missing))
