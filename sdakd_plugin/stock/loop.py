"""Callbacks from BasicSR's training loop for each epoch and batch.

They are attached to the prefetchers, which fetch the batches: ``train.py`` passes neither the epoch nor the position in
it to a model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from basicsr.data.prefetch_dataloader import CPUPrefetcher, CUDAPrefetcher, PrefetchDataLoader
from torch.utils.data import DataLoader


class Listener(Protocol):
    """Receives each epoch and batch; ``reset`` and ``fetch`` are BasicSR's."""

    def begin_epoch(self, reset: Callable[[], None], fetch: Callable[[], Any]) -> None: ...

    def next_batch(self, fetch: Callable[[], Any]) -> Any: ...


_listener: Listener | None = None  # a process trains one run at a time


def follow(listener: Listener) -> None:
    """Report the epochs and batches of BasicSR's loop to ``listener``, and make its random numbers deterministic."""
    global _listener
    if _listener is None:
        for kind in (CPUPrefetcher, CUDAPrefetcher):
            _report_batches(kind)
        _load_in_turn()
    _listener = listener


def listener() -> Any:
    """The current listener; ``None`` before ``follow``."""
    return _listener


def _report_batches(kind: type[Any]) -> None:
    stock_reset, stock_next = kind.reset, kind.next

    def reset(self: Any) -> None:
        assert _listener is not None
        _listener.begin_epoch(lambda: stock_reset(self), lambda: stock_next(self))

    def next(self: Any) -> Any:
        assert _listener is not None
        return _listener.next_batch(lambda: stock_next(self))

    kind.reset, kind.next = reset, next


def _load_in_turn() -> None:
    """Make ``prefetch_mode: cpu`` without workers read images on demand instead of in a thread.

    The thread would draw from the random numbers of training at unpredictable times.
    """
    stock_iter = PrefetchDataLoader.__iter__

    def __iter__(self: Any) -> Any:
        return stock_iter(self) if self.num_workers else DataLoader.__iter__(self)

    PrefetchDataLoader.__iter__ = __iter__
