"""Interleaved timing of functions."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from statistics import median, quantiles
from typing import Any, TypeVar

import torch

Name = TypeVar('Name', bound=Hashable)


def in_turns(
    steps: Mapping[Name, Callable[[], Any]], rounds: int, device: torch.device, warm_up: int = 1, in_a_row: int = 1
) -> dict[Name, list[float]]:
    """Time functions in turns (a, b, c, a, b, c, ...), so that other load on the machine affects all of them equally.

    Args:
        steps: the functions by name.
        rounds: number of timed rounds.
        device: the device of the functions; a GPU is synchronised before the clock is read.
        warm_up: number of earlier rounds, which are not timed.
        in_a_row: number of calls of a function in a round.

    Returns:
        The seconds per call in each round, by name.
    """
    finish = {'cuda': torch.cuda.synchronize, 'mps': torch.mps.synchronize}.get(device.type, lambda: None)
    times: dict[Name, list[float]] = {name: [] for name in steps}
    for _ in range(warm_up + rounds):
        for name, step in steps.items():
            finish()
            start = time.perf_counter()
            for _ in range(in_a_row):
                step()
            finish()
            times[name].append((time.perf_counter() - start) / in_a_row)
    return {name: found[warm_up:] for name, found in times.items()}


def paired_ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    """The median of the ratios of passes that followed one another."""
    return median(before / after for before, after in zip(slow, fast, strict=True))


def middle_half(values: Sequence[float]) -> tuple[float, float]:
    """The first and the third quartile."""
    low, _, high = quantiles(values, n=4, method='inclusive') if len(values) > 1 else [*values] * 3
    return low, high


def shown(times: Sequence[float], digits: int = 1) -> str:
    """The median, and in brackets the middle half, in milliseconds."""
    middle, low, high = (f'{value * 1e3:,.{digits}f}' for value in (median(times), *middle_half(times)))
    return f'{middle} ms ({low} to {high})'
