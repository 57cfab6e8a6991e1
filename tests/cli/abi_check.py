#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The ABI of libdrover against what was written down: abi_check.py COMPILER HEADER DUMP [--update]

A program that is linked against libdrover relies on the layout of each structure, the value of each enumerator, the
parameters of each function and the values of the macros that initialise. DUMP has all of these, a line each, as a program
built with COMPILER prints them. What is gone from the header or has another line breaks programs that exist: it needs
another soname. What is new is fine, and is written down at a release: fields may be added at the end of structures that
begin with their size. Prints "broken: LINE" and "new: LINE"; ends with 1 when something is broken, with 77 where pointers
are not 64 bits, else with 0. --update writes DUMP.
"""
import pathlib
import re
import subprocess
import sys
import tempfile

SKIPPED = 77


def without_comments(text):
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
    return re.sub(r"\\\n", " ", text)


def squeeze(text):
    return re.sub(r" ?([(),*\[\]]) ?", r"\1", " ".join(text.split()))


def field_of(declaration):
    """(name, type as text) of "char code[32]", "void (*f)(int)", "unsigned n"."""
    pointer = re.search(r"\(\*(\w+)\)", declaration)
    name = pointer.group(1) if pointer else re.search(r"(\w+)\s*(?:\[[^]]*\])?\s*$", declaration).group(1)
    return name, squeeze(re.sub(rf"\b{name}\b", "", declaration, count=1))


def structures(text):
    for match in re.finditer(r"\bstruct (drover_\w+)\s*\{(.*?)\n\}\s*;", text, re.S):
        yield match.group(1), [field_of(d) for d in match.group(2).split(";") if d.strip()]


def enumerators(text):
    for match in re.finditer(r"\benum (drover_\w+)\s*\{(.*?)\}\s*;", text, re.S):
        for value in match.group(2).split(","):
            if value.strip():
                yield match.group(1), value.split("=")[0].strip()


def declarations(text):
    for match in re.finditer(r"\bDROVER_API\b([^;]*);", text):
        yield "function " + squeeze(match.group(1))
    for match in re.finditer(r"\btypedef\b([^;]*);", text):
        yield "type " + squeeze(match.group(1))


def program(header, text):
    """C that prints what only the compiler knows."""
    out = ["#include <stdio.h>", f'#include "{header}"', "int main(void)", "{"]
    for name, fields in structures(text):
        out.append(f'printf("structure {name} bytes %zu\\n", sizeof(struct {name}));')
        for field, kind in fields:
            out.append(f'printf("field {name}.{field} at %zu bytes %zu: {kind}\\n", offsetof(struct {name}, {field}), '
                       f"sizeof(((struct {name} *)0)->{field}));")
    for enum, value in enumerators(text):
        out.append(f'printf("enumerator {enum} {value} = %d\\n", (int){value});')
    return "\n".join(out + ["return sizeof(void *) == 8 ? 0 : %d;" % SKIPPED, "}", ""])


def dump(compiler, header):
    text = without_comments(header.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        source, binary = pathlib.Path(folder, "abi.c"), pathlib.Path(folder, "abi")
        source.write_text(program(header.resolve(), text), encoding="utf-8")
        subprocess.run([*compiler.split(), "-o", binary, source], check=True)
        run = subprocess.run([binary], capture_output=True, text=True, check=False)
    if run.returncode:
        sys.exit(run.returncode)
    return run.stdout.splitlines() + sorted(declarations(text))


def growing(lines):
    """The structures that may: those that begin with their size."""
    return {m.group(1) for m in (re.match(r"field (\w+)\.size at 0 ", line) for line in lines) if m}


def has_grown(line, now, may_grow):
    """A structure's size that is larger now, where that is allowed."""
    before = re.match(r"structure (\w+) bytes (\d+)$", line)
    if not before or before.group(1) not in may_grow:
        return False
    after = next((m for m in (re.match(rf"structure {before.group(1)} bytes (\d+)$", n) for n in now) if m), None)
    return bool(after) and int(after.group(1)) > int(before.group(2))


def compare(before, now):
    may_grow = growing(before)
    broken = [line for line in before if line not in now and not has_grown(line, now, may_grow)]
    sizes = {line.split()[1] for line in before if line.startswith("structure ")}
    for line in now:
        field = re.match(r"field (\w+)\.", line)
        if line not in before and field and field.group(1) in sizes - may_grow:
            broken.append(line)
    return broken, [line for line in now if line not in before and line not in broken]


def main():
    compiler, header, file = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
    now = dump(compiler, header)
    if "--update" in sys.argv[4:]:
        file.write_text("\n".join(now) + "\n", encoding="utf-8")
        return 0
    broken, new = compare(file.read_text(encoding="utf-8").splitlines(), now)
    for line in broken:
        print("broken:", line)
    for line in new:
        print("new:", line)
    return 1 if broken else 0


sys.exit(main())
