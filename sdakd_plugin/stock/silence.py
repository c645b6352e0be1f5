"""Silences BasicSR's logger and the prints of its registries."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO

from basicsr.utils.logger import initialized_logger


@contextmanager
def quiet() -> Iterator[None]:
    """Silence BasicSR inside the block, and leave its logger unconfigured, so that the run can still set its log file.

    Standard error is not redirected, so that downloads show their progress.
    """
    logger = logging.getLogger('basicsr')
    before, initialized_logger['basicsr'] = dict(initialized_logger), True
    logger.disabled = True
    try:
        with redirect_stdout(StringIO()):  # the registry prints a line for every name to which it adds a suffix
            yield
    finally:
        logger.disabled = False
        initialized_logger.clear()
        initialized_logger.update(before)
