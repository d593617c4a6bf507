"""Writes resize.txt, the oracle of tests/resize.c: what Pillow makes of pixels that a
hash gives. Run with Pillow 9.4 or later: python3 resize.py > resize.txt"""
import sys
import zlib

import numpy as np
from PIL import Image

FILTERS = {"box": Image.BOX, "bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC, "lanczos": Image.LANCZOS}
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


def pixels(seed, h, w, c):
    """Noise for even seeds, only black and white for odd ones (overshoots and clips)."""
    x = (np.arange(h * w * c, dtype=np.uint64) + np.uint64(seed * 1000003)).astype(np.uint32)
    x ^= x >> np.uint32(16)
    x *= np.uint32(0x7FEB352D)
    x ^= x >> np.uint32(15)
    x *= np.uint32(0x846CA68B)
    x ^= x >> np.uint32(16)
    v = (x & np.uint32(255)).astype(np.uint8)
    if seed % 2:
        v = np.where(v >= 128, 255, 0).astype(np.uint8)
    return v.reshape(h, w, c)


def to_pil(a):
    c = a.shape[2]
    return Image.fromarray(a[:, :, 0] if c == 1 else a, MODES[c])


def fit(im, size):
    """Preprocessing of improved-diffusion: halve, scale to the short side, crop."""
    while min(im.size) >= 2 * size:
        im = im.resize((im.size[0] // 2, im.size[1] // 2), resample=Image.BOX)
    scale = size / min(im.size)
    im = im.resize((round(im.size[0] * scale), round(im.size[1] * scale)), resample=Image.BICUBIC)
    a = np.array(im)
    y, x = (a.shape[0] - size) // 2, (a.shape[1] - size) // 2
    return a[y:y + size, x:x + size]


def line(kind, name, c, seed, w, h, ow, oh, box, out):
    out = np.ascontiguousarray(out).reshape(-1)
    print(kind, name, c, seed, w, h, ow, oh, *box, format(zlib.crc32(out.tobytes()), "08x"), out[0], out[out.size // 2], out[-1])


SIZES = [(32, 32, 32, 32), (32, 32, 16, 16), (32, 32, 64, 64), (33, 31, 17, 40), (7, 5, 70, 3), (1, 1, 9, 4), (1, 50, 20, 7),
         (100, 1, 3, 30), (64, 48, 64, 20), (64, 48, 21, 48), (200, 150, 63, 47), (45, 200, 44, 199), (13, 17, 100, 101),
         (301, 2, 5, 2), (2, 301, 2, 64), (128, 96, 1, 1)]
BOXES = [(0.5, 0.25, 30.5, 20.75), (3.0, 4.0, 17.0, 21.0), (0.0, 1.5, 40.0, 29.0), (10.25, 0.0, 10.75, 30.0)]
FITS = [(32, 32, 32), (64, 64, 32), (65, 63, 32), (500, 375, 64), (375, 500, 64), (33, 100, 32), (20, 30, 32), (31, 63, 31),
        (178, 218, 64), (129, 257, 64), (91, 90, 30), (300, 41, 20), (5, 7, 16)]

seed = 0
for i, (w, h, ow, oh) in enumerate(SIZES):
    for k, name in enumerate(FILTERS):
        for c in (1, 3, 4) if name in ("box", "bicubic") else (1 + (i + k) % 4,):
            seed += 1
            im = to_pil(pixels(seed, h, w, c))
            line("resize", name, c, seed, w, h, ow, oh, (0, 0, w, h), np.array(im.resize((ow, oh), resample=FILTERS[name])))
for box in BOXES:
    for k, name in enumerate(FILTERS):
        for ow, oh in ((16, 24), (60, 50)):
            seed += 1
            c = 1 + seed % 4
            im = to_pil(pixels(seed, 30, 40, c))
            line("resize", name, c, seed, 40, 30, ow, oh, box, np.array(im.resize((ow, oh), resample=FILTERS[name], box=box)))
for w, h, size in FITS:
    for c in (1, 3, 4):
        seed += 1
        line("fit", "-", c, seed, w, h, size, size, (0, 0, w, h), fit(to_pil(pixels(seed, h, w, c)), size))
