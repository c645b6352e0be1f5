"""The training time of a run in seconds, without validation; a resumed run continues to count."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch

FILE = 'seconds.json'  # in the folder of the run: the training time at each training state, by iteration


class Stopwatch:
    """Measures training time from the first iteration on.

    The time is not part of the training state, because it differs between runs: otherwise the state of a resumed run
    would not equal that of an uninterrupted one.
    """

    def __init__(self) -> None:
        self._before: float | None = 0.0
        self._since: float | None = None  # None while stopped

    @property
    def seconds(self) -> float | None:
        """Seconds of training; ``None`` for a resumed run whose earlier training time is unknown."""
        if self._before is None:
            return None
        return self._before + (0.0 if self._since is None else time.perf_counter() - self._since)

    def start(self) -> None:
        """Start or continue."""
        if self._since is None:
            self._since = time.perf_counter()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop inside the block, after the GPU has finished its pending work."""
        running = self._since is not None
        if running and torch.cuda.is_initialized():
            torch.cuda.synchronize()
        self._before, self._since = self.seconds, None
        try:
            yield
        finally:
            if running:
                self.start()

    def save(self, folder: str | None, iteration: int) -> None:
        """Store the time at an iteration. Write errors are ignored: saving the checkpoint has already reported them."""
        if folder is None or self.seconds is None:
            return
        path = os.path.join(folder, FILE)
        with suppress(OSError):
            with open(path + '.tmp', 'w', encoding='utf-8') as file:
                json.dump({**_read(path), str(iteration): round(self.seconds, 3)}, file, indent=2)
            os.replace(path + '.tmp', path)

    def resume(self, folder: str | None, iteration: int) -> None:
        """Continue from the stored time at an iteration."""
        self._before, self._since = _read(os.path.join(folder or '', FILE)).get(str(iteration)), None


def _read(path: str) -> dict[str, float]:
    try:
        with open(path, encoding='utf-8') as file:
            found: dict[str, float] = json.load(file)
    except (OSError, ValueError):
        return {}
    return found
