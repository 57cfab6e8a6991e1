#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""rendered.py SVG PNG: has the browser draw SVG into PNG, and says which colours of the legend it does not show.

An SVG that is no XML, or that a browser does not take for a picture, shows none of them."""
import os
import re
import struct
import subprocess
import sys
import tempfile
import zlib


def draw(svg, png, width, height):
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(['chromium', '--headless', '--no-sandbox', '--disable-gpu', '--hide-scrollbars',
                        '--user-data-dir=' + profile, f'--window-size={width},{height}', '--screenshot=' + png,
                        'file://' + os.path.realpath(svg)], check=True, capture_output=True, timeout=60)


def pixels(png):
    """All colours of an 8 bit RGB or RGBA picture, each with the number of its pixels."""
    data = open(png, 'rb').read()
    width, height, depth, kind = struct.unpack('>IIBB', data[16:26])
    assert data[:8] == b'\x89PNG\r\n\x1a\n' and depth == 8 and kind in (2, 6), 'an unknown kind of PNG'
    size = 3 if kind == 2 else 4
    packed, at = b'', 8
    while at < len(data):
        length, name = struct.unpack('>I4s', data[at:at + 8])
        packed += data[at + 8:at + 8 + length] if name == b'IDAT' else b''
        at += length + 12
    raw, stride, above, counts = zlib.decompress(packed), width * size, bytearray(width * size), {}
    for y in range(height):
        method, line = raw[y * (stride + 1)], bytearray(raw[y * (stride + 1) + 1:(y + 1) * (stride + 1)])
        for i in range(stride):
            a = line[i - size] if i >= size else 0
            b, c = above[i], above[i - size] if i >= size else 0
            if method == 4:
                nearest = min((abs(b - c), 0, a), (abs(a - c), 1, b), (abs(a + b - 2 * c), 2, c))[2]
            line[i] = (line[i] + (0, a, b, (a + b) // 2, nearest if method == 4 else 0)[method]) & 255
        for i in range(0, stride, size):
            colour = bytes(line[i:i + 3])
            counts[colour] = counts.get(colour, 0) + 1
        above = line
    return counts


svg, png = sys.argv[1:]
text = open(svg).read()
width, height = re.search(r'viewBox="0 0 (\d+) (\d+)"', text).groups()
draw(svg, png, width, height)
counts = pixels(png)
# what covers a pixel and more; the legend has 144 pixels of each, so that a bar is what is more
bars = {}
for w, h, colour in re.findall(r'width="([\d.]+)" height="(\d+)" fill="#(\w{6})"><title>', text):
    bars[colour] = bars.get(colour, 0) + max(0, float(w) - 2) * int(h)
missing = [c for c, area in bars.items() if area > 0 and counts.get(bytes.fromhex(c), 0) < 100 + area / 2]
print('missing:', *missing if missing else ['none'])
sys.exit(bool(missing) or not bars)
