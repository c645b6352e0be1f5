"""BasicSR's training loop tells a run where it is.

Its prefetchers, which fetch the batches, are the only part of the loop that this plugin can hear from: ``train.py``
passes nothing that knows the epoch or the batch to a model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from basicsr.data.prefetch_dataloader import CPUPrefetcher, CUDAPrefetcher, PrefetchDataLoader
from torch.utils.data import DataLoader


class Listener(Protocol):
    """What is told of each epoch and batch; ``reset`` and ``fetch`` are BasicSR's."""

    def begin_epoch(self, reset: Callable[[], None], fetch: Callable[[], Any]) -> None: ...

    def next_batch(self, fetch: Callable[[], Any]) -> Any: ...


_listener: Listener | None = None  # of the one run that a process trains


def follow(listener: Listener) -> None:
    """From now on tell ``listener`` where BasicSR's loop is, and draw the loop's random numbers in one order only."""
    global _listener
    if _listener is None:
        for kind in (CPUPrefetcher, CUDAPrefetcher):
            _report_batches(kind)
        _load_in_turn()
    _listener = listener


def listener() -> Any:
    """The one that is told, ``None`` where BasicSR's loop is not followed."""
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
    """Without workers ``prefetch_mode: cpu`` reads images in a thread, which draws from the random numbers of training
    at any time. Such a loader then reads when it is asked."""
    stock_iter = PrefetchDataLoader.__iter__

    def __iter__(self: Any) -> Any:
        return stock_iter(self) if self.num_workers else DataLoader.__iter__(self)

    PrefetchDataLoader.__iter__ = __iter__
