"""The progress of a command: a bar on a terminal, lines in a log file."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar('Item')


def progress(items: Sequence[Item], unit: str = 'image') -> Iterator[Item]:
    """Iterate over items, with a progress bar on standard error if it is a terminal, else a line for every tenth."""
    if sys.stderr.isatty():
        yield from tqdm(items, unit=unit)
        return
    for done, item in enumerate(items, 1):
        yield item
        if 10 * done // len(items) > 10 * (done - 1) // len(items):
            print(f'{done:,} of {len(items):,} {unit}s ({100 * done // len(items)}%)', file=sys.stderr, flush=True)
