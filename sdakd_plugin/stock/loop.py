"""Callbacks from BasicSR's training loop for each epoch and batch.

They are attached to the prefetchers, which fetch the batches: ``train.py`` passes neither the epoch nor the position in
it to a model.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, Protocol

from basicsr.data.prefetch_dataloader import CPUPrefetcher, CUDAPrefetcher, PrefetchDataLoader
from torch.utils.data import DataLoader


class Listener(Protocol):
    """Receives the number of training images, then each epoch and batch; ``reset`` and ``fetch`` are BasicSR's."""

    images: int | None

    def begin_epoch(self, reset: Callable[[], None], fetch: Callable[[], Any]) -> None: ...

    def next_batch(self, fetch: Callable[[], Any]) -> Any: ...


_listener: Listener | None = None  # a process trains one run at a time


def follow(listener: Listener) -> None:
    """Report the epochs and batches of BasicSR's loop to ``listener``, make its random numbers deterministic, and let
    it train all iterations."""
    global _listener
    if _listener is None:
        for kind in (CPUPrefetcher, CUDAPrefetcher):
            _report_batches(kind)
        _load_in_turn()
        for name in ('basicsr.train', '__main__'):  # the latter is BasicSR's train.py, if that was started
            if hasattr(sys.modules.get(name), 'create_train_val_dataloader'):
                _count_whole_batches(sys.modules[name])
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


def _count_whole_batches(train: Any) -> None:
    """Correct the number of epochs in BasicSR's ``train`` module.

    BasicSR counts an incomplete batch at the end of an epoch, but its loader drops it: with 20 images in batches of 16
    the loop would end, without a word, after half of the iterations.
    """
    stock_create = train.create_train_val_dataloader

    @wraps(stock_create)
    def create_train_val_dataloader(*args: Any) -> Any:
        loader, sampler, val_loaders, _, iterations = stock_create(*args)
        assert _listener is not None
        _listener.images = len(loader.dataset)
        return loader, sampler, val_loaders, math.ceil(iterations / len(loader)), iterations

    train.create_train_val_dataloader = create_train_val_dataloader
