"""The seconds that a run has trained, without those of validation; a resumed run goes on counting."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch

FILE = 'seconds.json'  # in the folder of the run: the seconds by the iteration of each training state


class Stopwatch:
    """Runs from the first iteration. The training state does not hold what it shows: that is another in each run, and
    a resumed run would not be equal to an undisturbed one."""

    def __init__(self) -> None:
        self._before: float | None = 0.0
        self._since: float | None = None  # None: it stands

    @property
    def seconds(self) -> float | None:
        """Seconds of training; ``None`` for a resumed run of which nobody knows how long it took until then."""
        if self._before is None:
            return None
        return self._before + (0.0 if self._since is None else time.perf_counter() - self._since)

    def start(self) -> None:
        """Begin to count, or go on."""
        if self._since is None:
            self._since = time.perf_counter()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Do not count inside the block; a GPU finishes before it what it was given."""
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
        """Keep what it shows at an iteration. A disk that takes no file has been complained about elsewhere."""
        if folder is None or self.seconds is None:
            return
        path = os.path.join(folder, FILE)
        with suppress(OSError):
            with open(path + '.tmp', 'w', encoding='utf-8') as file:
                json.dump({**_read(path), str(iteration): round(self.seconds, 3)}, file, indent=2)
            os.replace(path + '.tmp', path)

    def resume(self, folder: str | None, iteration: int) -> None:
        """Go on from what it showed at an iteration."""
        self._before, self._since = _read(os.path.join(folder or '', FILE)).get(str(iteration)), None


def _read(path: str) -> dict[str, float]:
    try:
        with open(path, encoding='utf-8') as file:
            found: dict[str, float] = json.load(file)
    except (OSError, ValueError):
        return {}
    return found
