"""A ``map`` that works in threads while its results are used."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar('Item')
Result = TypeVar('Result')


def ahead(function: Callable[[Item], Result], items: Iterable[Item], threads: int = 1) -> Iterator[Result]:
    """Call a function on each item in threads of its own, as many items before the result that is asked for.

    The items are taken in the thread of the caller, so that calls can be chained: ``ahead(write, map(run, ahead(read,
    names)))`` reads an image while ``run`` computes the one before and the image before that is written.

    Returns:
        The results in the order of the items. An exception of ``function`` is raised in place of its result.
    """
    pool = ThreadPoolExecutor(threads)
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
