"""Helpers to run BasicSR's ``train_pipeline`` and ``test_pipeline`` with some of their functions replaced."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import basicsr  # noqa: F401


def module(name: str, arguments: Sequence[str]) -> Any:
    """BasicSR's module ``train`` or ``test``; its command-line arguments are written to ``sys.argv``."""
    sys.argv = [f'sdakd {name}', *arguments]
    return sys.modules[f'basicsr.{name}']


class Rate(float):
    """A number that BasicSR logs with one digit; it formats every other value as ``1.0000e+00``."""

    def __format__(self, spec: str) -> str:
        return f'{float(self):.1f}'


@contextmanager
def replaced(module: Any, **names: Any) -> Iterator[None]:
    """Replace names of a module inside the block."""
    before = {name: getattr(module, name) for name in names}
    vars(module).update(names)
    try:
        yield
    finally:
        vars(module).update(before)


def message_logger(stock: type[Any]) -> type[Any]:
    """BasicSR's ``MessageLogger`` with a correct remaining time, and the images a second at the end of a line.

    The stock class is off by one iteration, which makes the last remaining time -1 day, 23:59:56.
    """

    class Logger(stock):
        def __init__(self, opt: dict[str, Any], *args: Any, **kwargs: Any) -> None:
            super().__init__(opt, *args, **kwargs)
            self.max_iters += 1
            self.images = opt['datasets']['train']['batch_size_per_gpu'] * opt['world_size']

        def __call__(self, log_vars: dict[str, Any]) -> None:
            super().__call__({**log_vars, 'images_per_second': Rate(self.images / max(log_vars['time'], 1e-9))})

    return Logger
