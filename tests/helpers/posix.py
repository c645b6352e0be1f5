"""For tests of what only POSIX has."""

import os

import pytest


def needs_posix(what: str) -> pytest.MarkDecorator:
    """Skip a test on Windows and with ``--like-windows``, as it is about ``what``."""
    return pytest.mark.skipif(not hasattr(os, 'fork'), reason=f'about {what}, which Windows lacks')


def is_root() -> bool:
    return hasattr(os, 'geteuid') and os.geteuid() == 0


# of a data loader in the runs of most tests; where workers are spawned, one takes seconds to start, in each epoch
WORKERS = 1 if hasattr(os, 'fork') else 0
