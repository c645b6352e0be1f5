"""Times of steps that are measured in turns."""
from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median, quantiles

import torch

Step = Callable[[], None]


WARM_UP = 2  # rounds
IN_A_ROW = 5  # on a GPU, where a step's commands are given while the one before is still computed


def interleaved(steps: Mapping[str, Step], rounds: int, device: torch.device) -> dict[str, list[float]]:
    """Time steps in turns (a, b, c, a, b, c, ...), so that whatever else the machine does meets all of them alike.

    Args:
        steps: by name.
        rounds: how often each is timed, after some rounds for warming up.
        device: where they run. A GPU has finished before the clock is read; there a turn is several steps in a row.

    Returns:
        The seconds of one step in each round, by name.
    """
    in_a_row = IN_A_ROW if device.type == 'cuda' else 1
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(WARM_UP + rounds):
        for name, step in steps.items():
            finish(device)
            start = time.perf_counter()
            for _ in range(in_a_row):
                step()
            finish(device)
            times[name].append((time.perf_counter() - start) / in_a_row)
    return {name: found[WARM_UP:] for name, found in times.items()}


def finish(device: torch.device) -> None:
    """Wait until a GPU has done all that it was told."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


def ratio(times: list[float], reference: list[float]) -> float:
    """How many times longer: the median over the rounds, in each of which both were timed shortly after one another."""
    return median(mine / theirs for mine, theirs in zip(times, reference, strict=True))


def middle_half(times: list[float]) -> tuple[float, float]:
    """The first and the third quartile."""
    low, _, high = quantiles(times, n=4, method='inclusive') if len(times) > 1 else [*times] * 3
    return low, high
