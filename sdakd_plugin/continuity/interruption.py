"""SIGINT and SIGTERM, remembered until the run can be saved."""
from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Interruption:
    """Catches the first signal; a second one acts as it always does, for who cannot wait for the iteration.

    Attributes:
        signal: the one that came.
        patient: finish the iteration however many signals come. Processes that train together may get each of them
            twice, from the scheduler and from the launcher.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self.patient = False

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Catch signals inside the block."""
        before = {number: signal.signal(number, self._remember) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _remember(self, number: int, frame: Any) -> None:
        self.signal = signal.Signals(number)
        # a scheduler may end the loader's workers too, and torch would raise that in the middle of the iteration
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if not self.patient:
            for caught in (signal.SIGINT, signal.SIGTERM):
                signal.signal(caught, signal.SIG_DFL)
