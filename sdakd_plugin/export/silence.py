"""Keeps converters from printing their progress and their warnings."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO


@contextmanager
def silent() -> Iterator[None]:
    """Silence Python's streams, warnings and loggers, and what C++ writes to standard error. Exceptions pass."""
    sys.stderr.flush()
    stderr = os.dup(2)
    logging.disable(logging.WARNING)
    try:
        with open(os.devnull, 'w') as nowhere:
            os.dup2(nowhere.fileno(), 2)
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter('ignore')
            yield
    finally:
        logging.disable(logging.NOTSET)
        os.dup2(stderr, 2)
        os.close(stderr)
