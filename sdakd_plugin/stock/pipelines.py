"""BasicSR's ``train_pipeline`` and ``test_pipeline``, run with other functions in place of some that they call."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import basicsr  # noqa: F401


def module(name: str, arguments: Sequence[str]) -> Any:
    """BasicSR's ``train`` or ``test`` module, with the command line's arguments where it looks for them."""
    sys.argv = [f'sdakd {name}', *arguments]
    return sys.modules[f'basicsr.{name}']


@contextmanager
def replaced(module: Any, **names: Any) -> Iterator[None]:
    """Let a module's names mean something else inside the block."""
    before = {name: getattr(module, name) for name in names}
    vars(module).update(names)
    try:
        yield
    finally:
        vars(module).update(before)


def message_logger(stock: type[Any]) -> Callable[..., Any]:
    """BasicSR's ``MessageLogger``, which counts the iteration that has just ended as one to come, so that the last one
    has a remaining time of -1 day, 23:59:56."""

    def make(*args: Any, **kwargs: Any) -> Any:
        logger = stock(*args, **kwargs)
        logger.max_iters += 1
        return logger

    return make
