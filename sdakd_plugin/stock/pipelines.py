"""Helpers to run BasicSR's ``train_pipeline`` and ``test_pipeline`` with some of their functions replaced."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from basicsr.utils import get_root_logger


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


class Scalars:
    """TensorBoard's writer, which gives up at its first error, such as that of a full disk.

    Its file is written in a thread, whose error would end the run: all later calls raise it.
    """

    def __init__(self, writer: Any) -> None:
        self.writer = writer

    def add_scalar(self, *arguments: Any) -> None:
        """As ``SummaryWriter.add_scalar``."""
        self._call('add_scalar', *arguments)

    def close(self) -> None:
        """As ``SummaryWriter.close``."""
        self._call('close')

    def _call(self, name: str, *arguments: Any) -> None:
        if self.writer is None:
            return
        try:
            getattr(self.writer, name)(*arguments)
        except OSError as error:
            self.writer = None
            get_root_logger().error(
                f"TensorBoard's file cannot be written ({error.strerror or error}), and gets nothing more until the "
                'run is resumed; training continues.'
            )


def guarded(init_tb_loggers: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Scalars | None]:
    """Wrap BasicSR's ``init_tb_loggers``, so that TensorBoard cannot end the run."""

    def init(opt: dict[str, Any]) -> Scalars | None:
        writer = init_tb_loggers(opt)
        return None if writer is None else Scalars(writer)

    return init


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
