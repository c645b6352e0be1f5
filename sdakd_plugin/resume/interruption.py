"""Deferred handling of SIGINT and SIGTERM, so that a run can be saved before it ends."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from sdakd_plugin.utils import processes

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Catches the first signal; a second one has its default effect, so that a user can end the run at once.

    Args:
        outlook: returns what the run will do now, such as ``'finishing iteration 13, then saving'``.

    Attributes:
        signal: the signal that was received; ``None`` before.
        patient: if True, further signals are caught too. In distributed training a process may receive each signal
            twice, from the scheduler and from the launcher.
    """

    def __init__(self, outlook: Callable[[], str]) -> None:
        self.signal: signal.Signals | None = None
        self.patient = False
        self._outlook = outlook

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Catch signals inside the block."""
        with _handled(self._remember):
            yield

    def _remember(self, number: int, frame: Any) -> None:
        if self.signal is None and processes.is_first():
            again = 'press again' if number == signal.SIGINT else 'send it again'
            say(number, self._outlook() + ('' if self.patient else f'; {again} to quit without saving'))
        self.signal = signal.Signals(number)
        if hasattr(signal, 'SIGCHLD'):  # Windows has none
            # a scheduler may end the loader's workers too, and torch would raise an error inside the iteration
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if not self.patient:
            for caught in SIGNALS:
                signal.signal(caught, signal.SIG_DFL)


@contextmanager
def held_back() -> Iterator[None]:
    """Defer signals until the end of the block, so that the files which it writes stay consistent."""
    if threading.current_thread() is not threading.main_thread():  # signals are delivered only to the main thread
        yield
        return
    came: list[int] = []

    def hold(number: int, frame: Any) -> None:
        if not came and processes.is_first():
            say(number, 'completing the checkpoint first')
        came.append(number)

    with _handled(hold):
        yield
    for number in came:
        signal.raise_signal(number)


@contextmanager
def _handled(handler: Callable[[int, Any], None]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handled in before.items():
            signal.signal(number, handled)


def say(number: int, text: str) -> None:
    """Write a line about a signal to standard error from its handler, where ``print`` is not reentrant."""
    with suppress(OSError):  # standard error may be closed
        os.write(2, f'\n{signal.Signals(number).name}: {text}\n'.encode())
