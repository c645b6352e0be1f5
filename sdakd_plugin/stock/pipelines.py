"""Helpers to run BasicSR's ``train_pipeline`` and ``test_pipeline`` with some of their functions replaced."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import basicsr  # noqa: F401


def module(name: str, arguments: Sequence[str]) -> Any:
    """BasicSR's module ``train`` or ``test``; its command-line arguments are written to ``sys.argv``."""
    sys.argv = [f'sdakd {name}', *arguments]
    return sys.modules[f'basicsr.{name}']


@contextmanager
def replaced(module: Any, **names: Any) -> Iterator[None]:
    """Replace names of a module inside the block."""
    before = {name: getattr(module, name) for name in names}
    vars(module).update(names)
    try:
        yield
    finally:
        vars(module).update(before)


def message_logger(stock: type[Any]) -> Callable[..., Any]:
    """BasicSR's ``MessageLogger`` with a correct remaining time.

    The stock class is off by one iteration, which makes the last remaining time -1 day, 23:59:56.
    """

    def make(*args: Any, **kwargs: Any) -> Any:
        logger = stock(*args, **kwargs)
        logger.max_iters += 1
        return logger

    return make
