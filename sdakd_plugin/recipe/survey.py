"""What a folder of photographs holds: sizes, and files that training could not use."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from sdakd_plugin.data.photographs import Photographs
from sdakd_plugin.errors import UserError
from sdakd_plugin.inference.images import read_image

HEADERS, PIXELS = 60.0, 20.0  # seconds for reading the sizes, and for decoding photographs in a random order
HELD_OUT = 10  # of this many photographs one is kept for validation,
MOST_HELD_OUT = 10  # but no more than this
LARGE = 4_000_000  # pixels; validation enlarges whole photographs, which takes the teacher long for larger ones
# formats of phones, browsers and cameras that OpenCV may not read
OTHERS = ('.heic', '.heif', '.avif', '.jxl', '.gif', '.dng', '.cr2', '.cr3', '.nef', '.arw', '.raf', '.orf', '.rw2')
ENOUGH = 0.9  # of the photographs must be as large as a crop


@dataclass(frozen=True)
class Survey:
    """The photographs of a folder.

    Attributes:
        root: the folder.
        sizes: width and height of each readable photograph, by its path in the folder.
        broken: why each of the others cannot be read.
        decoded: how many were decoded to the last pixel.
        others: images of formats that training does not read.
    """

    root: str
    sizes: dict[str, tuple[int, int]]
    broken: dict[str, str]
    decoded: int
    others: Sequence[str] = ()

    def crop(self, largest: int, smallest: int = 64) -> int:
        """The largest crop, halved until 90 % of the photographs are as large."""
        side = largest
        while side > smallest and len(self.fitting(side)) < ENOUGH * len(self.sizes):
            side //= 2
        return side

    def fitting(self, side: int) -> list[str]:
        """The photographs of at least ``side`` pixels in both directions, in the order of their names."""
        return [name for name, size in self.sizes.items() if min(size) >= side]

    def split(self, side: int) -> tuple[list[str], list[str]]:
        """The photographs for training and those for validation, which are spread evenly over the names.

        Raises:
            UserError: fewer than two photographs are as large as a crop.
        """
        names = self.fitting(side)
        if len(names) < 2:
            raise UserError(
                f'{self.root}: of {len(self.sizes)} readable photographs {len(names)} can be used, as crops have '
                f'{side} pixels; training needs at least one and validation another: add larger photographs'
            )
        small = [name for name in names if self.pixels([name]) <= LARGE]
        wanted = max(1, min(len(names) // HELD_OUT, MOST_HELD_OUT))
        among = small if len(small) >= wanted else sorted(names, key=lambda name: self.pixels([name]))[:wanted]
        held_out = [among[index] for index in np.linspace(0, len(among) - 1, wanted + 2)[1:-1].round().astype(int)]
        kept = set(held_out)
        return [name for name in names if name not in kept], sorted(kept)

    def pixels(self, names: list[str]) -> int:
        """The number of pixels of photographs together."""
        return sum(self.sizes[name][0] * self.sizes[name][1] for name in names)

    def __str__(self) -> str:
        widths, heights = zip(*self.sizes.values(), strict=True)
        sides = f'{min(widths)} to {max(widths)} pixels wide, {min(heights)} to {max(heights)} high'
        return f'{self.root}: {len(self.sizes):,} readable photographs, {sides}'


def look_at(folder: str) -> Survey:
    """Read the size of every photograph in a folder, and decode as many as 20 seconds allow.

    Raises:
        UserError: the folder does not exist, or has no photograph that can be read.
    """
    try:
        photographs = Photographs(folder, {})
    except UserError as error:
        raise UserError(str(error).removeprefix('dataroot_gt: ')) from None
    sizes: dict[str, tuple[int, int]] = {}
    broken: dict[str, str] = {}
    end = time.monotonic() + HEADERS
    for name, path in zip(photographs.names, photographs.paths, strict=True):
        if time.monotonic() > end:
            break
        try:
            sizes[name] = _size(path)
        except (OSError, ValueError, Image.DecompressionBombError):
            broken[name] = 'is not a readable image'
    decoded = _decode(folder, sizes, broken)
    if not sizes:
        name, reason = next(iter(broken.items()))
        raise UserError(f'{folder}: none of {len(broken)} photographs can be read; {name} {reason}')
    return Survey(folder, sizes, broken, decoded, _others(folder))


def _others(folder: str) -> list[str]:
    """The images below a folder that have formats which training does not read, sorted."""
    found = (path.relative_to(folder) for path in Path(folder).rglob('*') if path.suffix.lower() in OTHERS)
    return sorted(path.as_posix() for path in found if not any(part.startswith('.') for part in path.parts))


def _size(path: str) -> tuple[int, int]:
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of odd EXIF, and of many pixels
        with Image.open(path) as image:
            return image.size


def _decode(folder: str, sizes: dict[str, tuple[int, int]], broken: dict[str, str]) -> int:
    """Decode photographs until the time is over, and move those that are damaged from ``sizes`` to ``broken``."""
    names, count = list(sizes), 0
    end = time.monotonic() + PIXELS
    for index in np.random.default_rng(0).permutation(len(names)):
        path = Path(os.path.join(folder, names[index]))
        try:
            read_image(path)
        except UserError as error:
            del sizes[names[index]]
            broken[names[index]] = str(error).removeprefix(f'{path} ')
        count += 1
        if time.monotonic() > end:
            break
    return count
