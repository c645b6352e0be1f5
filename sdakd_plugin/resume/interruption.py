"""SIGINT and SIGTERM, remembered until the run can be saved."""

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
    """Catches the first signal; a second one acts as it always does, for who cannot wait for the iteration.

    Attributes:
        signal: the one that came.
        patient: finish the iteration however many signals come. Processes that train together may get each of them
            twice, from the scheduler and from the launcher.

    Args:
        outlook: says what the run does about a signal, such as ``'finishing iteration 13, then saving'``.
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
            # a scheduler may end the loader's workers too, and torch would raise that in the middle of the iteration
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if not self.patient:
            for caught in SIGNALS:
                signal.signal(caught, signal.SIG_DFL)


@contextmanager
def held_back() -> Iterator[None]:
    """Let signals that come inside the block act when it is over: what it writes belongs together."""
    if threading.current_thread() is not threading.main_thread():  # signals reach only that one
        yield
        return
    came: list[int] = []

    def hold(number: int, frame: Any) -> None:
        if not came and processes.is_first():
            say(number, 'the checkpoint that is being saved is completed first')
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
    """Write a line about a signal to standard error, from within its handler: there, ``print`` may meet itself."""
    with suppress(OSError):  # it may be closed
        os.write(2, f'\n{signal.Signals(number).name}: {text}\n'.encode())
