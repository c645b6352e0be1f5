"""A progress bar with the remaining time, on a terminal."""

from __future__ import annotations

import logging
import sys
from contextlib import ExitStack

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm


class Progress:
    """A tqdm bar over the iterations of a run; BasicSR's log lines are printed above it.

    Nothing is shown if standard error is not a terminal.

    Args:
        total: number of iterations of the run.
        done: number of iterations already trained, when resuming.
        show: whether to show the bar; False in all processes but the first.
    """

    def __init__(self, total: int, done: int, show: bool) -> None:
        self._stack = ExitStack()
        self._bar = None
        if show and sys.stderr.isatty():
            self._bar = tqdm(total=total, initial=done, unit='it', dynamic_ncols=True)
            self._stack.enter_context(logging_redirect_tqdm([logging.getLogger('basicsr')]))

    def describe(self, text: str) -> None:
        if self._bar is not None:
            self._bar.set_description(text)

    def note(self, text: str) -> None:
        """Show a text after the remaining time."""
        if self._bar is not None:
            self._bar.set_postfix_str(text)

    def update(self, iteration: int) -> None:
        """Move to an iteration; the last one closes the bar."""
        if self._bar is None:
            return
        self._bar.update(iteration - self._bar.n)
        if iteration == self._bar.total:
            self.close()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._stack.close()
