"""BasicSR's logger and its registries' prints, kept silent."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO

from basicsr.utils.logger import initialized_logger


@contextmanager
def quiet() -> Iterator[None]:
    """Keep BasicSR silent, and its logger unconfigured: the first real use decides where the log file goes.

    Standard error stays as it is, so that a download shows its progress.
    """
    logger = logging.getLogger('basicsr')
    before, initialized_logger['basicsr'] = dict(initialized_logger), True
    logger.disabled = True
    try:
        with redirect_stdout(StringIO()):  # its registry prints a line for every name that it completes
            yield
    finally:
        logger.disabled = False
        initialized_logger.clear()
        initialized_logger.update(before)
